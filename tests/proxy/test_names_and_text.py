"""Environment names and the sanitiser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack_proxy.envnames import (
    PROTECTED_NAMES,
    SAFE_NAMES,
    SHELL_INIT_NAMES,
    is_protected,
    is_valid_name,
    protected_reason,
)
from perstack_proxy.sanitise import sanitise, sanitise_line

REQUIRED = [
    "PATH",
    "HOME",
    "SHELL",
    "NODE_PATH",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "DYLD_LIBRARY_PATH",
    "NODE_OPTIONS",
    "PYTHONPATH",
    "PERL5LIB",
    "RUBYLIB",
]


def test_V2_the_safe_names_are_the_14_of_the_requirement():
    assert len(SAFE_NAMES) == len(set(SAFE_NAMES)) == 14


@pytest.mark.parametrize("name", REQUIRED)
def test_V3_each_required_name_is_protected_in_any_case(name):
    assert name in PROTECTED_NAMES
    for spelling in (name, name.lower(), name.title(), name.swapcase()):
        assert is_protected(spelling)


@pytest.mark.parametrize(
    "name",
    [
        *("LD_AUDIT", "LD_X", "DYLD_X", "GCONV_PATH", "HOSTALIASES", *SHELL_INIT_NAMES, "BASH_FUNC_ls%%"),
        *("PYTHONSTARTUP", "PYTHONHOME", "PYTHONBREAKPOINT", "PERL5OPT", "RUBYOPT", "JAVA_TOOL_OPTIONS"),
        *("GIT_SSH_COMMAND", "GIT_EXEC_PATH", "GIT_PAGER", "GIT_CONFIG", "GIT_CONFIG_COUNT", "GIT_EXTERNAL_DIFF"),
    ],
)
def test_V4_the_names_that_load_code_are_protected_with_a_reason(name):
    assert protected_reason(name)


@pytest.mark.parametrize(
    "name",
    [
        "GIT_AUTHOR_NAME",
        "GIT_COMMITTER_EMAIL",
        "GITHUB_TOKEN",
        "MY_API_KEY",
        "TERM",
        "LDFLAGS",
        "PYTHONUNBUFFERED",
        "LANG",
    ],
)
def test_V5_names_that_a_skill_may_ask_for_are_not_protected(name):
    assert not is_protected(name)


@given(st.text(max_size=40))
def test_the_case_of_a_name_never_decides(name):
    if name.isascii():
        assert is_protected(name) == is_protected(name.lower()) == is_protected(name.upper())


@pytest.mark.parametrize("name", ["A", "_", "a_1", "x" * 255])
def test_a_portable_name_is_valid(name):
    assert is_valid_name(name)


@pytest.mark.parametrize("name", ["", "1A", "A=B", "A B", "A\n", "A\0", "Ä", "A-B", "x" * 256, "A\u0660"])
def test_any_other_name_is_not(name):
    assert not is_valid_name(name)


#: Format characters by category that are seen: they enclose the digits after them.
NUMBER_SIGNS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"


@given(st.text(st.characters(), max_size=200))
def test_AO2_nothing_invisible_or_commanding_is_left(text):
    import unicodedata

    for safe in (sanitise(text), sanitise_line(text)):
        safe.encode()
        for character in safe:
            hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
            assert not hidden or character in "\n\t" or character in NUMBER_SIGNS
    assert "\n" not in sanitise_line(text)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_printable_ascii_is_unchanged(text):
    assert sanitise(text) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\u202eb\u200bc", r"a\u202eb\u200bc"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\U000e0041\ud800", r"\U000e0041\ud800"),
        ("a\rb\r\nc", "a\\x0db\nc"),
        ("grün 日本 👍🏽 ⚠️", "grün 日本 👍🏽 ⚠️"),
        ("a\ufe0f\ufe0f", r"a\ufe0f\ufe0f"),
    ],
)
def test_AO2_AF13_each_kind_is_shown_visibly(text, safe):
    assert sanitise(text) == safe


def test_a_line_is_one_line():
    assert sanitise_line("a\nb\tc") == r"a\nb\tc"


def test_a_long_text_is_cut_with_a_count():
    assert sanitise("x" * 15, limit=10) == "x" * 10 + "… [5 more characters]"
    assert sanitise("x" * 10, limit=10) == "x" * 10
