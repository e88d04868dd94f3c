"""What skills changed in a copy, and whether each change may be made on the host: decided without touching either."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from perstack_proxy.filenames import is_secret, obeyed_by
from perstack_proxy.sanitise import sanitise_line

from perstack.staging.copying import Both
from perstack.staging.walk import Mark

Kind = Literal["added", "modified", "deleted"]
Verdict = Literal["ready", "conflict", "held"]
Opened: TypeAlias = Callable[[str, bool], bool]
"""Whether a path, or what may be made in it if it is a directory, is open to the skills although programs obey it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One entry that is not as it was copied.

    Attributes:
        path: Relative to the workspace, as the system has it: perhaps no text that can be shown.
        before: What was copied, or None.
        after: What is in the copy now, or None.
        verdict: ``ready`` to be made on the host; a ``conflict`` with what happened there meanwhile; or ``held`` back,
            because it is more than data.
        reason: Why it is not ready.
        moved_from: The path that the same file had before, which is gone.
    """

    path: str
    kind: Kind
    before: Mark | None
    after: Mark | None
    verdict: Verdict = "ready"
    reason: str = ""
    moved_from: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """What has to be looked at on the host and in the copy.

    Attributes:
        host: The mark of a path on the host, None where nothing is or a directory above is none.
        same: Whether a file or link has the same content on both sides.
        target: What a link in the copy points to.
        opened: See `Opened`.
    """

    host: Callable[[str], Mark | None]
    same: Callable[[str], bool]
    target: Callable[[str], str]
    opened: Opened


def compare(copied: Mapping[str, Both], now: Mapping[str, Mark], sides: Sides) -> tuple[Change, ...]:
    """Every change, sorted by path. What became the same on both sides meanwhile is none.

    Args:
        copied: What was copied.
        now: What is in the copy.
        sides: The host and the copy.
    """
    gone = {path: both.copy for path, both in copied.items() if path not in now}
    by_content = {_content(mark): path for path, mark in gone.items() if mark.is_file}
    changes: dict[str, Change] = {}
    sides = replace(sides, opened=_with_directories(sides.opened, copied, now))
    for path in sorted(now):
        known = copied.get(path)
        if known is not None and known.copy == now[path]:
            continue
        change = Change(
            path=path,
            kind="modified" if known else "added",
            before=known and known.copy,
            after=now[path],
            moved_from=by_content.get(_content(now[path]), "") if now[path].is_file else "",
        )
        if judged := _judged(change, known and known.host, changes, sides):
            changes[path] = judged
    moved = {change.moved_from: change for change in changes.values() if change.moved_from}
    for path in sorted(gone):
        change = Change(path=path, kind="deleted", before=gone[path], after=None)
        judged = _judged(change, copied[path].host, changes, sides)
        if judged and path in moved and moved[path].verdict != "ready":
            judged = replace(judged, verdict=moved[path].verdict, reason="what it was renamed to is not brought back")
        if judged:
            changes[path] = judged
    return tuple(changes[path] for path in sorted(changes))


def _with_directories(opened: Opened, copied: Mapping[str, Both], now: Mapping[str, Mark]) -> Opened:
    """As `opened`, and for the directories that hold something new that is open."""
    new = (path for path in now if path not in copied and opened(path, now[path].is_directory))
    above = {parent for path in new for parent in _parents(path)}
    return lambda path, is_directory: (is_directory and path in above) or opened(path, is_directory)


def _content(mark: Mark) -> tuple[int, int, int]:
    """What a file keeps under another name; the inode alone may have been given to a new file."""
    return mark.number, mark.size, mark.modified


def _judged(change: Change, was: Mark | None, above: Mapping[str, Change], sides: Sides) -> Change | None:
    """The change with its verdict, or None if nothing is left to do."""
    path = change.path
    if reason := _held(change, sides):
        return replace(change, verdict="held", reason=reason)
    blocked = next((above[parent] for parent in _parents(path) if parent in above), None)
    if blocked is not None and blocked.verdict != "ready":
        return replace(change, verdict=blocked.verdict, reason=f"the directory above it: {blocked.reason}")
    there, after = sides.host(path), change.after
    if there is None and after is None:
        return None
    alike = there is not None and after is not None and there.mode == after.mode
    if alike and after is not None and (after.is_directory or sides.same(path)):
        return None
    both_directories = there is not None and was is not None and there.is_directory and was.is_directory
    if there == was or both_directories:
        return change
    what = "removed" if there is None else "changed" if was else "made"
    return replace(change, verdict="conflict", reason=f"it was {what} on the host meanwhile")


def _held(change: Change, sides: Sides) -> str:
    """Why a change is never made by itself, or empty."""
    parts = change.path.split("/")
    mark = change.after or change.before
    directory = mark is not None and mark.is_directory
    if (reason := obeyed_by(parts, directory=directory)) and not sides.opened(change.path, directory):
        return f"other programs obey it: {reason}"
    if is_secret(parts):
        return "files of this name hold secrets"
    if change.after is None:
        return ""
    if sanitise_line(change.path) != change.path:
        return "its name has characters that cannot be shown"
    if not (directory or change.after.is_file or change.after.is_link):
        return "it is neither a file, a directory nor a link"
    if change.after.is_link and leads_out(change.path, sides.target(change.path)):
        return "the link leads out of the workspace"
    return ""


def leads_out(path: str, target: str) -> bool:
    """Whether a link at `path` could lead out of the workspace, alone or through others that could not."""
    steps = [step for step in target.split("/") if step not in ("", ".")]
    ups = next((count for count, step in enumerate(steps) if step != ".."), len(steps))
    return target.startswith("/") or ups > path.count("/") or ".." in steps[ups:]


def _parents(path: str) -> Iterator[str]:
    """The directories above a path, nearest first."""
    while (path := path.rpartition("/")[0]) != "":
        yield path
