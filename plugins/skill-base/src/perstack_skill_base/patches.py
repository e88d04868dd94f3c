"""Unified diffs, as git and diff write them and as models write them: parsed, and put to the lines of a file.

Pure functions of texts. The line numbers of a hunk are where the search for its lines begins, and its counts are not
needed: models get both wrong. Its lines must stand in the file exactly; nothing is guessed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_HUNK = re.compile(r"@@(?: -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))?)?(?: @@.*| ?@@)?$|@@ .*$")
_NULL = "/dev/null"
_SHOWN = 120
_SIGNS = (" ", "+", "-")


class PatchError(ValueError):
    """The text is no patch; the message says where."""


class Hunk(NamedTuple):
    """One change.

    Attributes:
        start: Line, counted from 1, at which its old lines are expected, or of which one that only adds comes after;
            None if it does not say.
        old: Lines that stand in the file.
        new: Lines that stand there afterwards.
        old_open: The last old line has no line break after it.
        new_open: The last new line has none.
    """

    start: int | None
    old: tuple[str, ...]
    new: tuple[str, ...]
    old_open: bool = False
    new_open: bool = False


class FilePatch(NamedTuple):
    """The changes of one file.

    Attributes:
        old: Its path; None if it is made.
        new: Its path afterwards; None if it is deleted.
        hunks: In the order of the patch.
    """

    old: str | None
    new: str | None
    hunks: tuple[Hunk, ...]


class Rejection(NamedTuple):
    """A hunk that does not fit: its number in the file, counted from 1, where it was looked for, and why."""

    hunk: int
    line: int
    reason: str


class Applied(NamedTuple):
    """A text after a patch, and the hunks that are not in it."""

    text: str
    rejected: tuple[Rejection, ...]


def parse(text: str) -> list[FilePatch]:
    """The files of a patch; what stands around them, such as a message, is passed over.

    Raises:
        PatchError: There is no change in it, or one cannot be read.
    """
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    patches: list[FilePatch] = []
    renamed: dict[str, str] = {}
    position = 0
    while position < len(lines):
        line = lines[position].rstrip("\r")
        if line.startswith(("GIT binary patch", "Binary files ")):
            raise PatchError(f"line {position + 1}: binary changes are not supported")
        if line.startswith("diff --git "):
            patches += _only_renamed(renamed)
        elif line.startswith(("rename from ", "rename to ")):
            _, direction, path = line.split(" ", 2)
            renamed[direction] = path
        elif _is_header(lines, position):
            renamed.clear()
            patch, position = _file(lines, position)
            patches.append(patch)
            continue
        elif line.startswith("@@"):
            raise PatchError(f"line {position + 1}: a hunk without '--- ' and '+++ ' lines before it")
        position += 1
    patches += _only_renamed(renamed)
    if not patches:
        raise PatchError("there is no file in it: each begins with a '--- ' and a '+++ ' line")
    return patches


def apply(text: str, hunks: tuple[Hunk, ...]) -> Applied:
    """The text with every hunk that fits; line breaks stay of the kind that the text has."""
    crlf = "\r\n" in text
    lines = text.split("\n")
    closed = not lines[-1]
    if closed:
        lines.pop()
    rejected: list[Rejection] = []
    shift = done = 0
    for number, hunk in enumerate(hunks, start=1):
        expected = done if hunk.start is None else max(hunk.start - bool(hunk.old), 0) + shift
        at = _place(lines, hunk, expected, done)
        if isinstance(at, str):
            rejected.append(Rejection(number, expected + 1, at))
            continue
        end = at + len(hunk.old)
        if end == len(lines):
            closed = False if hunk.new_open else closed or hunk.old_open or not hunk.old
        kept = {line.rstrip("\r"): line for line in lines[at:end]}  # context keeps the file's own line breaks
        lines[at:end] = [kept.get(line, f"{line}\r" if crlf and not line.endswith("\r") else line) for line in hunk.new]
        shift += at - expected + len(hunk.new) - len(hunk.old)
        done = at + len(hunk.new)
    return Applied("\n".join(lines) + ("\n" if closed and lines else ""), tuple(rejected))


def _is_header(lines: list[str], position: int) -> bool:
    after = lines[position + 1] if position + 1 < len(lines) else ""
    return lines[position].startswith("--- ") and after.startswith("+++ ")


def _file(lines: list[str], position: int) -> tuple[FilePatch, int]:
    old, new = _path(lines[position][4:]), _path(lines[position + 1][4:])
    if old is not None and new is not None and old.startswith("a/") and new.startswith("b/"):
        old, new = old[2:], new[2:]
    elif old is None and new is not None:
        new = new.removeprefix("b/")
    elif new is None and old is not None:
        old = old.removeprefix("a/")
    if old is None and new is None:
        raise PatchError(f"line {position + 1}: both sides are {_NULL}")
    position += 2
    hunks: list[Hunk] = []
    while position < len(lines) and lines[position].startswith("@@"):
        hunk, position = _hunk(lines, position)
        hunks.append(hunk)
    if not hunks and old == new:
        raise PatchError(f"line {position + 1}: {new!r} has no hunk; one begins with '@@ '")
    return FilePatch(old, new, tuple(hunks)), position


def _hunk(lines: list[str], position: int) -> tuple[Hunk, int]:
    header = _HUNK.match(lines[position].rstrip("\r"))
    if header is None:
        raise PatchError(f"line {position + 1}: {lines[position][:_SHOWN]!r} is no hunk header, '@@ -1,2 +1,3 @@'")
    start = int(header[1]) if header[1] else None
    position += 1
    end = _counted_end(lines, position, *(int(count) if count else 1 for count in (header[2], header[4])))
    if not header[1] or end is None:
        end = _open_end(lines, position)
    old: list[str] = []
    new: list[str] = []
    old_open = new_open = False
    last = ""
    for line in lines[position:end]:
        sign, rest = line[:1], line[1:].rstrip("\r")
        if sign == "\\":
            old_open, new_open = old_open or last in "- ", new_open or last in "+ "
            continue
        last = sign if sign in _SIGNS else " "
        if last != "+":
            old.append(rest)
        if last != "-":
            new.append(rest)
    if not old and not new:
        raise PatchError(f"line {position}: the hunk is empty")
    return Hunk(start, tuple(old), tuple(new), old_open, new_open), end


def _counted_end(lines: list[str], position: int, old: int, new: int) -> int | None:
    """Where a hunk ends by the counts of its header; None if they are wrong."""
    while old > 0 or new > 0:
        sign = lines[position].rstrip("\r")[:1] if position < len(lines) else "end"
        if sign not in ("", " ", "+", "-", "\\"):
            return None
        old -= sign in ("", " ", "-")
        new -= sign in ("", " ", "+")
        position += 1
    if old or new:
        return None
    if position < len(lines) and lines[position].startswith("\\"):
        position += 1
    goes_on = position < len(lines) and lines[position][:1] in _SIGNS and not lines[position].startswith("-- ")
    return None if goes_on and not _is_header(lines, position) else position


def _open_end(lines: list[str], position: int) -> int:
    """Where a hunk ends whose counts say nothing: before the next header, and without the empty lines before that."""
    while (
        position < len(lines) and not _is_header(lines, position) and lines[position][:1] in ("", "\r", *_SIGNS, "\\")
    ):
        position += 1
    while not lines[position - 1].strip("\r"):
        position -= 1
    return position


def _only_renamed(renamed: dict[str, str]) -> list[FilePatch]:
    paths = renamed.get("from"), renamed.get("to")
    renamed.clear()
    return [FilePatch(*paths, ())] if None not in paths else []


def _path(text: str) -> str | None:
    text = text.rstrip("\r").split("\t", 1)[0].strip()
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = (
            text[1:-1]
            .encode("latin-1", "backslashreplace")
            .decode("unicode_escape")
            .encode("latin-1", "replace")
            .decode("utf-8", "replace")
        )
    return None if text == _NULL else text


def _place(lines: list[str], hunk: Hunk, expected: int, first: int) -> int | str:
    """The index of the hunk's first old line, nearest to where it is expected, or why there is none."""
    old = [line.rstrip("\r") for line in hunk.old]
    if not old:
        return len(lines) if hunk.start is None else min(max(expected, first), len(lines))
    places = [
        index
        for index in range(first, len(lines) - len(old) + 1)
        if lines[index].rstrip("\r") == old[0]
        and all(lines[index + offset].rstrip("\r") == line for offset, line in enumerate(old))
    ]
    if not places:
        return _mismatch(lines, old, expected, first)
    if hunk.start is None and len(places) > 1:
        where = ", ".join(str(place + 1) for place in places[:5])
        return f"it fits at more than one place (lines {where}), and it has no line numbers"
    return min(places, key=lambda place: abs(place - expected))


def _mismatch(lines: list[str], old: list[str], expected: int, first: int) -> str:
    """What stands in the file where most of the hunk's first lines fit."""

    def fitting(index: int) -> int:
        count = 0
        while count < len(old) and index + count < len(lines) and lines[index + count].rstrip("\r") == old[count]:
            count += 1
        return count

    starts = [index for index in range(first, len(lines)) if lines[index].rstrip("\r") == old[0]][:1_000]
    best = max(starts, key=lambda index: (fitting(index), -abs(index - expected)), default=min(expected, len(lines)))
    count = fitting(best)
    at = best + count
    found = repr(lines[at][:_SHOWN]) if at < len(lines) else "the end of the file"
    return f"line {at + 1} of the file is {found}, the patch has {old[min(count, len(old) - 1)][:_SHOWN]!r}"
