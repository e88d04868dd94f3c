"""Copies in the user's state directory: made whole or not at all, used by one process at a time, kept until dropped.

<state>/changes/<id>/copy.json    whose it is, and what was copied
<state>/changes/<id>/calls.jsonl  which tool calls changed what
<state>/changes/<id>/lock         held by the process that uses it
<state>/changes/<id>/workspace/   the copy
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from perstack.errors import StagingError, UsageError
from perstack.ids import checked_id
from perstack.journal.disk import LOCK_WAIT_SECONDS, lock, open_private, private_directory
from perstack.staging.applying import Host, NotMadeError, Side, in_order, same
from perstack.staging.changes import Change, Opened, Sides, compare
from perstack.staging.copying import Both, Owner, copy_tree
from perstack.staging.walk import Mark, opened, scan

NEVER_ROOT = 10001
"""User of a sandbox where perstack is run by root on root's own files."""
_UNFINISHED = ".new-"

Purpose = Literal["overlay", "rw"]


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What a copy is for.

    Attributes:
        id: Names it: the job of an overlay; the run of a copy that stands in for a workspace in ``rw``.
        job: The job whose skills change it.
        workspace: The directory that was copied, resolved.
        purpose: ``overlay``, or ``rw`` where the sandbox's user cannot write to the workspace itself.
    """

    id: str
    job: str
    workspace: str
    purpose: Purpose


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What became of the changes of a copy.

    Attributes:
        made: On the host now.
        left: Conflicts and what was held back, with the reasons; still in the copy.
    """

    made: tuple[Change, ...]
    left: tuple[Change, ...]


def _nothing(path: str, is_directory: bool) -> bool:  # noqa: ARG001, FBT001
    return False


class StagedCopy:
    """A copy, while this process holds its lock."""

    def __init__(self, place: Path, about: About, copied: dict[str, Both], held: int) -> None:
        self.about = about
        self.workspace = place / "workspace"
        self.calls = place / "calls.jsonl"
        self._place = place
        self._copied = copied
        self._held = held

    def scan(self) -> dict[str, Mark]:
        """What is in it.

        Raises:
            StagingError: There are too many entries.
        """
        with opened(self.workspace) as root:
            return scan(root)

    def changes(self) -> tuple[Change, ...]:
        """How it differs from the workspace as it was copied.

        Raises:
            StagingError: There is too much in it to compare, or the workspace is gone.
        """
        with self._sides() as (host, copy):
            return self._compare(host, copy)

    def apply(self, opened: Opened = _nothing) -> Applied:
        """Every change that may be made is made on the host; a file that changed there meanwhile is never overwritten.

        Args:
            opened: What may be made on the host although other programs obey it.

        Raises:
            StagingError: There is too much in it to compare, or the workspace is gone.
        """
        made: list[Change] = []
        failed: dict[str, str] = {}
        with self._sides() as (host, copy):
            changes = self._compare(host, copy, opened)
            became = {change.moved_from: change.path for change in changes if change.moved_from}
            maker = Host(host, copy)
            for change in in_order([change for change in changes if change.verdict == "ready"]):
                known = self._copied.get(change.path)
                try:
                    if change.after is None and became.get(change.path) in failed:
                        raise NotMadeError("what it was renamed to is not brought back")
                    maker.make(change, known and known.host)
                except NotMadeError as error:
                    failed[change.path] = str(error)
                    continue
                made.append(change)
                self._note(change, host.mark(change.path))
            if made:
                os.sync()
                self._save()
            left = [
                replace(change, verdict="conflict", reason=failed[change.path]) if change.path in failed else change
                for change in self._compare(host, copy, opened)
            ]
        return Applied(made=tuple(made), left=tuple(left))

    def drop(self) -> None:
        """It is gone, with all changes that were not applied."""
        unfinished = self._place.with_name(f"{_UNFINISHED}{self._place.name}")
        os.rename(self._place, unfinished)
        shutil.rmtree(unfinished, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Others may use it. Calling it again is harmless."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    @contextmanager
    def _sides(self) -> Iterator[tuple[Side, Side]]:
        with opened(Path(self.about.workspace)) as host, opened(self.workspace) as copy:
            yield Side(host), Side(copy)

    def _compare(self, host: Side, copy: Side, opened: Opened = _nothing) -> tuple[Change, ...]:
        sides = Sides(host=host.mark, same=partial(same, host, copy), target=copy.target, opened=opened)
        return compare(self._copied, self.scan(), sides)

    def _note(self, change: Change, there: Mark | None) -> None:
        """The change is no longer one."""
        if change.after is None or there is None:
            self._copied.pop(change.path, None)
        else:
            self._copied[change.path] = Both(there, change.after)

    def _save(self) -> None:
        _write(self._place, self.about, self._copied)


class Copies:
    """The copies below a state directory, which is made with the first of them."""

    def __init__(self, state_dir: Path) -> None:
        self._root = state_dir / "changes"

    def make(self, about: About, owner: Owner) -> StagedCopy:
        """A new copy of ``about.workspace``. One that is being made when this process ends is never seen.

        Raises:
            StagingError: It cannot be copied.
        """
        private_directory(self._root.parent)
        private_directory(self._root)
        unfinished, place = self.unfinished(about.id), self._root / about.id
        self.sweep()
        unfinished.mkdir(mode=0o700)
        held = _hold(unfinished, about.id)
        try:
            copied = dict(copy_tree(Path(about.workspace), unfinished / "workspace", owner))
            _write(unfinished, about, copied)
            os.rename(unfinished, place)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            os.close(held)
            raise
        return StagedCopy(place, about, copied, held)

    def open(self, id: str, *, wait: float = LOCK_WAIT_SECONDS) -> StagedCopy:
        """The copy of that id; `wait` is for how many seconds another process may still be using it.

        Raises:
            UsageError: There is none.
            StagingError: Another process uses it, or it cannot be read.
        """
        place = self._root / checked_id(id, what="id")
        if not place.is_dir():
            raise UsageError(f"There are no changes of {id!r}.", hint="See what there is with: perstack changes")
        held = _hold(place, id, wait=wait)
        try:
            table = json.loads((place / "copy.json").read_text(encoding="ascii"))
            copied = {path: Both(Mark(*host), Mark(*copy)) for path, (host, copy) in table["copied"].items()}
            return StagedCopy(place, About(**table["about"]), copied, held)
        except (OSError, ValueError, KeyError, TypeError) as error:
            os.close(held)
            raise StagingError(
                f"The copy {str(place)!r} cannot be read: {error}.", hint="Its files are there."
            ) from None

    def unfinished(self, id: str) -> Path:
        """Where the copy of that id is while it is being made."""
        return self._root / f"{_UNFINISHED}{id}"

    def holds(self, id: str) -> bool:
        """Whether there is a copy of that id."""
        return (self._root / id).is_dir()

    def ids(self) -> Sequence[str]:
        """The ids of all copies, in order."""
        try:
            return sorted(name for name in os.listdir(self._root) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def left_over(self) -> Iterator[StagedCopy]:
        """Copies in the place of a workspace in ``rw`` whose run was killed before it brought back what is in them."""
        for name in self.ids():
            with suppress(StagingError, UsageError):
                copy = self.open(name, wait=0)
                try:
                    if copy.about.purpose == "rw":
                        yield copy
                finally:
                    copy.close()

    def sweep(self) -> None:
        """Copies that were never finished, or not wholly removed, are gone."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self._root):
                if name.startswith(_UNFINISHED):
                    with suppress(StagingError):
                        held = _hold(self._root / name, name, wait=0)
                        shutil.rmtree(self._root / name, ignore_errors=True)
                        os.close(held)


def sandbox_owner(workspace: Path) -> Owner:
    """User and group of a sandbox: the caller's, or the workspace's owner where root asks; never root's."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        owner = workspace.stat()
        uid, gid = owner.st_uid, owner.st_gid
    return Owner(uid or NEVER_ROOT, gid or NEVER_ROOT)


def _hold(place: Path, name: str, *, wait: float = LOCK_WAIT_SECONDS) -> int:
    """A descriptor whose lock says that the copy is used."""
    try:
        descriptor = open_private(place / "lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise StagingError(f"The changes of {name!r} cannot be opened: {error.strerror}.") from None
    if not lock(descriptor, wait=wait):
        os.close(descriptor)
        raise StagingError(
            f"The changes of {name!r} are used by another process.", hint="Wait until its run has ended."
        )
    return descriptor


def _write(place: Path, about: About, copied: Mapping[str, Both]) -> None:
    """The file that says what a copy is, replaced at once."""
    table = {"about": asdict(about), "copied": copied}
    temporary = place / "copy.json.new"
    with open(open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="ascii") as file:
        json.dump(table, file)
    os.replace(temporary, place / "copy.json")
