"""What is fuzzed with atheris: parsers of the base skill that read what a model or a client sends.

    python tests/support/fuzz_targets.py TARGET [-max_total_time=SECONDS] [further options of libFuzzer]

A target raises when a property does not hold; the only errors that it lets pass are those that the parser promises.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["perstack_proxy", "perstack_skill_base"]):
    from perstack_proxy import globs, jsonrpc
    from perstack_proxy.file_policy import FilePolicy
    from perstack_skill_base import ignore, patches, paths
    from perstack_skill_base.errors import ToolError

WORKSPACE = paths.Workspace("/", FilePolicy())
WORKSPACE.root = WORKSPACE._named = "/work space/ü"


def locate(data: bytes) -> None:
    """A place has plain components only, and naming it again gives the same place."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        place = WORKSPACE.locate(text)
    except ToolError:
        return
    assert all(part not in ("", ".", "..") and "/" not in part and "\0" not in part for part in place.parts)
    assert WORKSPACE.locate("./" + "/".join(place.parts)) == place
    FilePolicy().control(place.parts)
    FilePolicy().secret(place.parts)


def patch(data: bytes) -> None:
    """What is read as a patch can be put to any text; what a diff says is what comes out."""
    text = data.decode("utf-8", "replace")
    try:
        for one in patches.parse(text):
            patches.apply(text, one.hunks)
    except patches.PatchError:
        pass
    old, _, new = text.replace("\r", "").partition("\0")
    diff = "".join(_lines(old, new))
    if diff:
        (one,) = patches.parse(diff)
        applied = patches.apply(old, one.hunks)
        assert (applied.text, applied.rejected) == (new, ())


def _lines(old: str, new: str) -> list[str]:
    """A diff as programs write it: a line without a line break has a marker after it."""
    pieces = (re.split(r"(?<=\n)", side) for side in (old, new))
    before, after = ([line for line in lines if line] for lines in pieces)
    out = list(difflib.unified_diff(before, after, "a/x", "b/x"))
    return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in out]


def message(data: bytes) -> None:
    """A line is a message or a `MessageError`, and a message is written as it was read."""
    for line in data.split(b"\n"):
        try:
            one = jsonrpc.decode(line, limits=jsonrpc.CLIENT_LIMITS)
        except jsonrpc.MessageError:
            continue
        try:
            again = jsonrpc.encode(one)
        except ValueError:
            assert b"e" in line.lower()  # a number that JSON has and a double has not
            continue
        assert jsonrpc.decode(again) == one


def pattern(data: bytes) -> None:
    """A glob is a `ValueError` or a regular expression, and an ignore file is never an error."""
    text = data.decode("utf-8", "replace")[:200]
    ignore.parse(text)
    with contextlib.suppress(ValueError):
        re.compile(globs.translate(text))


TARGETS: dict[str, Callable[[bytes], None]] = {"paths": locate, "patch": patch, "message": message, "glob": pattern}

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
