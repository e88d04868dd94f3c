"""Changes as people read them: lines of text, bounded and without a character that a terminal would obey."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from perstack_proxy.sanitise import sanitise_line

from perstack.staging.applying import Side
from perstack.staging.attribution import CallRef
from perstack.staging.changes import Change
from perstack.staging.copies import StagedCopy
from perstack.staging.walk import Mark, opened

SHOWN_BYTES = 256 * 1024
"""Largest text that is compared line by line."""
COMPARED_LINES = 1000
"""Most differing lines of a side that are matched with the other side's; hostile ones cost the product of both."""
CONTEXT = 3
VERDICTS = {"conflict": "conflict", "held": "held back"}
SHOWN_LINES = 200
"""Of one file."""
ALL_LINES = 4000
"""Of all files together."""


def describe(copy: StagedCopy, changes: Sequence[Change], calls: Mapping[str, Sequence[CallRef]]) -> Iterator[str]:
    """Every change: what became of which file, by which call, whether it can be applied, and its lines.

    Raises:
        StagingError: The workspace is gone.
    """
    left = ALL_LINES
    with opened(Path(copy.about.workspace)) as host, opened(copy.workspace) as theirs:
        moved = {change.moved_from for change in changes}
        for change in changes:
            yield _head(change)
            yield from _who(calls.get(change.path))
            if change.verdict != "ready":
                yield f"    {VERDICTS[change.verdict]}: {sanitise_line(change.reason)}"
            if change.kind == "deleted" and change.path in moved:
                continue
            lines = list(_limited(_difference(change, Side(host), Side(theirs)), min(SHOWN_LINES, left)))
            left -= len(lines)
            yield from (f"    {sanitise_line(line)}" for line in lines)


def summary(changes: Sequence[Change]) -> str:
    """How many changes there are, in words."""
    if not changes:
        return "no changes"
    ready = sum(change.verdict == "ready" for change in changes)
    conflicts = sum(change.verdict == "conflict" for change in changes)
    held = len(changes) - ready - conflicts
    parts = [f"{ready} to apply", f"{conflicts} in conflict" * bool(conflicts), f"{held} held back" * bool(held)]
    return f"{len(changes)} change{'s' * (len(changes) != 1)}: {', '.join(filter(None, parts))}"


def _head(change: Change) -> str:
    came = f", renamed from {sanitise_line(change.moved_from)}" if change.moved_from else ""
    return f"{change.kind} {sanitise_line(change.path)}{'/' * _is_directory(change)}{came}{_permissions(change)}"


def _permissions(change: Change) -> str:
    """What is worth knowing of the permission bits: a change, or new ones out of the ordinary."""
    if change.after is None or change.after.is_link:
        return ""
    now = change.after.mode & 0o7777
    if change.before is not None:
        was = change.before.mode & 0o7777
        return "" if now == was else f" (mode {was:o} → {now:o})"
    return "" if now in {0o644, 0o755, 0o600, 0o700, 0o664, 0o775} else f" (mode {now:o})"


def _is_directory(change: Change) -> bool:
    mark = change.after or change.before
    return mark is not None and mark.is_directory


def _who(calls: Sequence[CallRef] | None) -> Iterator[str]:
    if not calls:
        yield "    by no tool call: while none was running"
        return
    named = ", ".join(sanitise_line(f"{call.skill}:{call.tool} ({call.expert}, {call.id})") for call in calls)
    yield f"    by {'one of ' * (len(calls) > 1)}{named}"


def _difference(change: Change, host: Side, copy: Side) -> Iterator[str]:
    old_path = change.moved_from or change.path
    old = host.mark(old_path) if change.kind != "added" or change.moved_from else None
    new = change.after
    if (old and old.is_directory) or (new and new.is_directory):
        return
    if (old and old.is_link) or (new and new.is_link):
        if old and old.is_link:
            yield f"-link to {host.target(old_path)}"
        if new and new.is_link:
            yield f"+link to {copy.target(change.path)}"
        return
    before, after = _text(host, old_path, old), _text(copy, change.path, new)
    if before is None or after is None:
        yield f"binary or large: {_size(old)} → {_size(new)}"
        return
    yield from compared(before, after)


def _size(mark: Mark | None) -> str:
    return "nothing" if mark is None else f"{mark.size} bytes" if mark.is_file else "no file"


def _text(side: Side, path: str, mark: Mark | None) -> list[str] | None:
    """The lines of a text, none for nothing, or None for what is no text or too long."""
    if mark is None:
        return []
    if not mark.is_file or mark.size > SHOWN_BYTES:
        return None
    data = b""
    with suppress(OSError), side.file(path) as handle:
        while (chunk := os.read(handle, SHOWN_BYTES + 1 - len(data))) and len(data) <= SHOWN_BYTES:
            data += chunk
    if b"\0" in data or len(data) > SHOWN_BYTES:
        return None
    try:
        return data.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None


def compared(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """The lines that differ, with `CONTEXT` lines around them; in time that hostile texts cannot stretch."""
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    yield from (f" {line}" for line in before[max(0, start - CONTEXT) : start])
    if len(old) > COMPARED_LINES or len(new) > COMPARED_LINES or not (old and new):
        yield from (f"-{line}" for line in old)
        yield from (f"+{line}" for line in new)
    else:
        from difflib import SequenceMatcher

        groups = SequenceMatcher(None, old, new).get_opcodes()
        for tag, i1, i2, j1, j2 in groups:
            if tag == "equal":
                yield from _shortened(old[i1:i2])
            else:
                yield from (f"-{line}" for line in old[i1:i2])
                yield from (f"+{line}" for line in new[j1:j2])
    yield from (f" {line}" for line in before[len(before) - end :][:CONTEXT])


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many items at the start are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _shortened(lines: Sequence[str]) -> Iterator[str]:
    if len(lines) <= 2 * CONTEXT:
        yield from (f" {line}" for line in lines)
        return
    yield from (f" {line}" for line in lines[:CONTEXT])
    yield f"@ {len(lines) - 2 * CONTEXT} lines are the same"
    yield from (f" {line}" for line in lines[-CONTEXT:])


def _limited(lines: Iterator[str], most: int) -> Iterator[str]:
    count: Callable[[], int] = lambda: sum(1 for _ in lines)  # noqa: E731
    for number, line in enumerate(lines):
        if number >= most:
            yield f"… and {count() + 1} more lines"
            return
        yield line
