"""The scanner finds the line of every key that tomli finds, in whatever way a file is written."""

from __future__ import annotations

import json

import pytest
import tomli
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from perstack.config.keylines import dotted, scan

WORD = st.text("abcxyz-_019", min_size=1, max_size=4)
KEY = st.one_of(WORD, st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=5))
SCALAR = st.one_of(
    st.integers(-9, 99).map(str),
    st.sampled_from(["true", "1.5", "1979-05-27T07:32:00Z", "07:32:00", "-inf", "0x1F"]),
    st.text(max_size=6).map(lambda text: json.dumps(text).replace("\x7f", "\\u007f")),
    st.sampled_from(
        ["'a # ] } , = b'", '"""x\n[not.a.table]\nno = 1 \\" ""\n"""', "'''y\n'' = 2\n'''", '""', "''", '"""a"""""']
    ),
)
BREAK = st.sampled_from(["", " ", "\n", '\n  # a comment ] with = signs "\n', "\t"])


def quoted(key: str) -> str:
    return (
        key
        if key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
        else json.dumps(key, ensure_ascii=False)
    )


@st.composite
def values(draw, depth: int = 2) -> str:
    kind = draw(st.integers(0, 3)) if depth else 0
    if kind == 1:
        items = draw(st.lists(values(depth - 1), max_size=3))
        return "[" + "".join(f"{draw(BREAK)}{item}{draw(BREAK)}," for item in items) + draw(BREAK) + "]"
    if kind == 2:
        keys = draw(st.lists(KEY, max_size=3, unique=True))
        return "{" + ", ".join(f"{quoted(key)} = {draw(values(depth - 1))}" for key in keys) + "}"
    return draw(SCALAR)


@st.composite
def documents(draw) -> str:
    lines = []
    for _ in range(draw(st.integers(0, 6))):
        path = ".".join(quoted(key) for key in draw(st.lists(KEY, min_size=1, max_size=3)))
        match draw(st.integers(0, 3)):
            case 0:
                lines.append(f" [ {path} ] # header")
            case 1:
                lines.append(f"[[{path}]]")
            case _:
                lines.append(f"{path} = {draw(values())}")
        lines.append(draw(st.sampled_from(["", "# comment", "   "])))
    return "\n".join(lines)


def accepted(text: str) -> dict[str, object]:
    """What tomli reads; an example that it refuses does not count."""
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError:
        reject()


def paths(value: object, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path, *(found for key, item in inner for found in paths(item, (*path, key)))}


@settings(deadline=None)
@given(documents())
def test_every_path_of_a_document_has_a_line_and_no_other_path_has_one(text: str) -> None:
    document = accepted(text)
    assert set(scan(text)) == paths(document) - {()}


@settings(deadline=None)
@given(st.lists(st.tuples(WORD, st.integers(0, 3), values()), max_size=6, unique_by=lambda entry: entry[0]))
def test_the_line_of_each_key_is_the_one_it_was_written_on(entries) -> None:
    lines: list[str] = []
    expected = {}
    for key, blank, value in entries:
        lines += [""] * blank
        expected[key,] = len(lines) + 1
        lines += f"{key} = {value}".split("\n")
    text = "\n".join(lines)
    accepted(text)
    found = scan(text)
    assert {path: found[path] for path in expected} == expected


def test_tables_lists_and_their_items_have_lines_of_their_own() -> None:
    text = """\
a.b = 1
[x.y]
list = [ "one",
  "two", { k = 1 } ]
[[row]]
n = 1
[[row]]
n = 2
[row.sub]
[x]
"dotted.key" = '''
[z]
'''
last = 0
"""
    assert scan(text) == {
        ("a",): 1,
        ("a", "b"): 1,
        ("x",): 10,
        ("x", "y"): 2,
        ("x", "y", "list"): 3,
        ("x", "y", "list", 0): 3,
        ("x", "y", "list", 1): 4,
        ("x", "y", "list", 2): 4,
        ("x", "y", "list", 2, "k"): 4,
        ("row",): 5,
        ("row", 0): 5,
        ("row", 0, "n"): 6,
        ("row", 1): 7,
        ("row", 1, "n"): 8,
        ("row", 1, "sub"): 9,
        ("x", "dotted.key"): 11,
        ("x", "last"): 14,
    }


def test_windows_line_ends_count_as_one() -> None:
    assert scan("a = 1\r\nb = '''\r\n'''\r\nc = 2\r\n") == {("a",): 1, ("b",): 2, ("c",): 4}


@pytest.mark.parametrize(
    ("path", "written"),
    [
        (("experts", "a"), "experts.a"),
        (("experts", "a.b", "delegates", 0), 'experts."a.b".delegates[0]'),
        (("a", 'q"\\'), 'a."q\\"\\\\"'),
    ],
)
def test_paths_are_written_as_in_a_file(path, written) -> None:
    assert dotted(path) == written
