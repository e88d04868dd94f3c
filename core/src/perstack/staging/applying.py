"""Changes made on the host, each below a handle of the workspace, so that no link on either side can lead elsewhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

from perstack_proxy.beneath import FILE_FLAGS, LISTING_FLAGS, open_beneath, rename_new

from perstack.staging.copying import CHUNK, KEPT_BITS, MAX_BYTES, copy_bytes
from perstack.staging.walk import Mark

if TYPE_CHECKING:
    from perstack.staging.changes import Change


Filling: TypeAlias = Callable[[str], None]
"""Makes an entry under the name that it is given."""


class NotMadeError(Exception):
    """A change was not made; says why."""


class Side:
    """One side of a copy, by the handle of its directory: entries of it are looked at and never followed."""

    def __init__(self, root: int) -> None:
        self._root = root

    @contextmanager
    def above(self, path: str) -> Iterator[tuple[int, str]]:
        """The handle of the directory of `path`, and its name in there.

        Raises:
            OSError: A directory above it is missing, or is none.
        """
        *parents, name = path.split("/")
        handle = open_beneath(self._root, parents)
        try:
            yield handle, name
        finally:
            os.close(handle)

    def mark(self, path: str) -> Mark | None:
        """What is there, or None."""
        with suppress(OSError), self.above(path) as (parent, name):
            return Mark.of(os.stat(name, dir_fd=parent, follow_symlinks=False))
        return None

    def target(self, path: str) -> str:
        """What a link points to; empty if it is none by now."""
        with suppress(OSError), self.above(path) as (parent, name):
            return os.readlink(name, dir_fd=parent)
        return ""

    @contextmanager
    def file(self, path: str) -> Iterator[int]:
        """A regular file, to be read.

        Raises:
            OSError: It is none, or cannot be read.
        """
        with self.above(path) as (parent, name):
            handle = os.open(name, os.O_RDONLY | FILE_FLAGS, dir_fd=parent)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(0, "it is no plain file any more")
            yield handle
        finally:
            os.close(handle)


def same(one: Side, other: Side, path: str) -> bool:
    """Whether a file or a link has the same content on both sides."""
    here, there = one.mark(path), other.mark(path)
    if here is None or there is None or here.size != there.size:
        return False
    if here.is_link and there.is_link:
        return one.target(path) == other.target(path)
    with suppress(OSError), one.file(path) as first, other.file(path) as second:
        while chunk := os.read(first, CHUNK):
            if os.read(second, CHUNK) != chunk:
                return False
        return not os.read(second, 1)
    return False


def in_order(changes: Sequence[Change]) -> Iterator[Change]:
    """The changes in an order in which each can be made, and nothing is deleted before what it became is there."""
    late = [change for change in changes if change.after and not change.after.is_directory and _was_directory(change)]
    yield from (change for change in changes if change.after and change not in late)
    yield from (change for change in reversed(changes) if change.after is None)
    yield from late


def _was_directory(change: Change) -> bool:
    return change.before is not None and change.before.is_directory


class Host:
    """The workspace, while changes are made in it. Together they write at most `MAX_BYTES`."""

    def __init__(self, workspace: Side, copy: Side) -> None:
        self._workspace = workspace
        self._copy = copy
        self._left = MAX_BYTES

    def make(self, change: Change, expected: Mark | None) -> None:
        """The change is made, at once and whole, if the host's entry is `expected` and still is when it is replaced.

        Raises:
            NotMadeError: It is not, or the system refused.
        """
        try:
            with self._workspace.above(change.path) as (parent, name):
                self._check(parent, name, expected)
                if change.after is None:
                    _remove(parent, name, expected)
                elif change.after.is_directory:
                    _make_directory(parent, name, change.after, expected)
                elif change.after.is_link:
                    self._replace(parent, name, expected, lambda new: self._link(change, parent, new))
                else:
                    self._replace(parent, name, expected, lambda new: self._write(change, parent, new, expected))
        except OSError as error:
            raise NotMadeError(error.strerror or str(error)) from None

    def _check(self, parent: int, name: str, expected: Mark | None) -> None:
        found = _found(parent, name)
        there = found and Mark.of(found)
        if there != expected and not (there and expected and there.is_directory and expected.is_directory):
            raise NotMadeError("it was changed on the host meanwhile")

    def _replace(self, parent: int, name: str, expected: Mark | None, fill: Filling) -> None:
        """What `fill` makes under a new name takes the place of `name`."""
        new = f".perstack-{os.urandom(8).hex()}"
        try:
            fill(new)
            if expected is not None and expected.is_directory:
                os.rmdir(name, dir_fd=parent)
                expected = None
            self._check(parent, name, expected)
            if expected is None:
                rename_new(parent, new, parent, name)
            else:
                os.rename(new, name, src_dir_fd=parent, dst_dir_fd=parent)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=parent)

    def _link(self, change: Change, parent: int, new: str) -> None:
        target = self._copy.target(change.path)
        if not target:
            raise NotMadeError("it is no link any more")
        os.symlink(target, new, dir_fd=parent)

    def _write(self, change: Change, parent: int, new: str, expected: Mark | None) -> None:
        with self._copy.file(change.path) as source:
            found = os.fstat(source)
            if Mark.of(found) != change.after:
                raise NotMadeError("it changed in the copy meanwhile")
            self._left -= found.st_size
            if self._left < 0:
                raise NotMadeError(f"together with the others it is more than {MAX_BYTES} bytes")
            target = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE_FLAGS, 0o600, dir_fd=parent)
            try:
                copy_bytes(source, target)
                if os.geteuid() == 0:
                    _give_away(target, parent, change.path.rpartition("/")[2] if expected else "")
                os.fchmod(target, found.st_mode & KEPT_BITS)
            finally:
                os.close(target)


def _give_away(target: int, parent: int, name: str) -> None:
    """A file that root writes belongs to whom the one before it did, or to whom its directory does."""
    owner = (name and _found(parent, name)) or os.fstat(parent)
    os.fchown(target, owner.st_uid, owner.st_gid)


def _found(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _remove(parent: int, name: str, expected: Mark | None) -> None:
    if expected is not None and expected.is_directory:
        os.rmdir(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)


def _make_directory(parent: int, name: str, wanted: Mark, expected: Mark | None) -> None:
    if expected is not None and not expected.is_directory:
        os.unlink(name, dir_fd=parent)
        expected = None
    if expected is None:
        os.mkdir(name, 0o700, dir_fd=parent)
    handle = os.open(name, LISTING_FLAGS, dir_fd=parent)
    try:
        if expected is None and os.geteuid() == 0:
            _give_away(handle, parent, "")
        os.fchmod(handle, wanted.mode & KEPT_BITS)
    finally:
        os.close(handle)
