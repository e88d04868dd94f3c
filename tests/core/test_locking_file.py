"""A lock file says the same after it was written and read, and a hostile one says nothing at all."""

from __future__ import annotations

import os
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack.errors import UserError
from perstack.locking.lockfile import (
    Lock,
    LockedExpert,
    LockedSkill,
    LockedTool,
    NpmPackage,
    PackageSet,
    PypiPackage,
    lock_text,
    parse_lock,
    read_lock,
    write_lock,
)

SHA512 = f"sha512-{'A' * 86}=="
SHA256 = f"sha256:{'0' * 64}"
NPM = NpmPackage(path="node_modules/@a/b", name="@a/b", version="1.0.0", integrity=SHA512, os=("linux",))
PYPI = PypiPackage(name="a-b", version="2.0", wheels={"a_b-2.0-py3-none-any.whl": SHA256})
TOOL = LockedTool(name="t", description="says\nthings", input_schema='{"type":"object"}')
LOCK = Lock(
    packages={"npm @a/b": PackageSet(npm=(NPM,)), "pypi a-b": PackageSet(python="3.11", pypi=(PYPI,))},
    experts={
        "@org/e": LockedExpert(
            skills={
                "b": LockedSkill(
                    command=("npx", "-y", "@a/b"), packages="npm @a/b", program="node_modules/@a/b/i.js", tools=(TOOL,)
                ),
                "far": LockedSkill(command=("https://h.example/mcp",), tools=(TOOL,)),
            }
        )
    },
)

words = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
tools = st.builds(
    LockedTool,
    name=words,
    description=words,
    input_schema=st.sampled_from(["{}", '{"a":"\\u007f"}']),
    output_schema=st.sampled_from(["", "{}"]),
)
skills = st.builds(
    LockedSkill,
    command=st.lists(words).map(tuple),
    image=words,
    tools=st.lists(tools, unique_by=lambda tool: tool.name, max_size=3).map(
        lambda found: tuple(sorted(found, key=lambda tool: tool.name))
    ),
)
locks = st.builds(
    Lock,
    experts=st.dictionaries(
        words, st.builds(LockedExpert, skills=st.dictionaries(words, skills, min_size=1, max_size=3)), max_size=3
    ),
)


def test_a_lock_is_the_same_after_it_was_written_and_read(tmp_path) -> None:
    path = tmp_path / "perstack.lock"
    write_lock(path, LOCK)
    assert read_lock(path) == LOCK
    first = path.read_bytes()
    write_lock(path, parse_lock(first))
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


@given(locks)
def test_any_words_survive_a_lock_file(lock) -> None:
    assert parse_lock(lock_text(lock).encode()) == lock


@given(st.text(string.printable, max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_what_is_no_lock_is_refused_and_never_crashes(text) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_lock(text.encode())


TEXT = lock_text(LOCK)


@pytest.mark.parametrize(
    ("was", "now", "why"),
    [
        ('version = "2"', 'version = "1"', "version '1'"),
        ('version = "2"', 'version = "2"\nmore = 1', "unknown field"),
        (SHA512, "sha1-AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "integrity"),
        (SHA512, "", "integrity"),
        (SHA256, "md5:0", "wheels"),
        ('"node_modules/@a/b"', '"node_modules/../../../etc"', "path"),
        ('"node_modules/@a/b"', '"/etc/cron.d"', "path"),
        ('"node_modules/@a/b/i.js"', '"../../../bin/sh"', "program"),
        ('"node_modules/@a/b/i.js"', '"/bin/sh"', "program"),
        ('"node_modules/@a/b/i.js"', '"a/./../b"', "program"),
        ('"a_b-2.0-py3-none-any.whl"', '"../a.whl"', "wheels"),
        ('name = "@a/b"', 'name = "@a/b/../../c"', "name"),
        ('packages = "npm @a/b"', 'packages = "nothing"', "not there"),
        ('python = "3.11"', 'python = "3.11; rm"', "python"),
        ('python = "3.11"\n', "", "version of Python"),
        ('input_schema = "{\\"type\\":\\"object\\"}"', 'input_schema = "[]"', "schema is no JSON object"),
    ],
)
def test_AC2_a_hostile_lock_is_refused_with_what_is_wrong(was, now, why) -> None:
    parse_lock(TEXT.encode())  # the control
    assert was in TEXT
    with pytest.raises(ValueError, match=why):
        parse_lock(TEXT.replace(was, now).encode())


def test_a_package_that_stands_twice_is_refused() -> None:
    twice = PackageSet(python="3.11", pypi=(PYPI, PypiPackage(name="A.B", version="3", wheels=PYPI.wheels)))
    with pytest.raises(ValueError, match="twice"):
        parse_lock(lock_text(Lock(packages={"x": twice})).encode())


def test_a_lock_that_cannot_be_read_never_counts_as_none(tmp_path) -> None:
    path = tmp_path / "perstack.lock"
    assert read_lock(path) is None
    path.write_text("version = ")
    with pytest.raises(UserError, match="cannot be used") as refusal:
        read_lock(path)
    assert "perstack install" in refusal.value.hint
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read_lock(path)
    path.rmdir()
    os.mkfifo(path)  # nobody writes to it
    with pytest.raises(UserError):
        read_lock(path)
