"""What is in a directory that others may be changing: every entry is reached by handles, and no link is followed."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from perstack_proxy.beneath import LISTING_FLAGS, open_beneath

from perstack.errors import StagingError

MAX_ENTRIES = 200_000
"""Entries of a directory that are listed; a scan of so many takes about a second."""
MAX_DEPTH = 100
"""Directories below one another; real projects stay under 40."""


class Mark(NamedTuple):
    """What tells whether an entry is as it was. The kernel keeps `changed`, so that nobody can set it back.

    Of a directory only the mode counts: what is in it is an entry of its own.
    """

    mode: int
    size: int = 0
    modified: int = 0
    changed: int = 0
    number: int = 0

    @classmethod
    def of(cls, found: os.stat_result) -> Mark:
        """The mark of what was found."""
        if stat.S_ISDIR(found.st_mode):
            return cls(found.st_mode)
        return cls(found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    @property
    def is_directory(self) -> bool:
        """A directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """A regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        """A symbolic link."""
        return stat.S_ISLNK(self.mode)


class Seen(NamedTuple):
    """One entry while its directory is open.

    Attributes:
        path: Relative to the root, with ``/``.
        parent: Handle of its directory.
        name: Its name in there.
        mark: What it is.
    """

    path: str
    parent: int
    name: str
    mark: Mark


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    """A handle of `directory`, which is no link.

    Raises:
        StagingError: There is none.
    """
    try:
        handle = os.open(directory, LISTING_FLAGS)
    except OSError as error:
        raise StagingError(f"The directory {str(directory)!r} cannot be opened: {error.strerror}.") from None
    try:
        yield handle
    finally:
        os.close(handle)


def walk(root: int, *, enter: Callable[[str], bool] = lambda _: True) -> Iterator[Seen]:
    """Every entry below `root`, a directory before what is in it. What cannot be listed is left out.

    Args:
        root: Handle of the directory.
        enter: Whether the directory of that path is entered.

    Raises:
        StagingError: There are more than `MAX_ENTRIES`, or more than `MAX_DEPTH` levels.
    """
    waiting: deque[tuple[str, ...]] = deque([()])
    count = 0
    while waiting:
        above = waiting.popleft()
        with suppress(OSError), _listed(root, above) as (handle, entries):
            prefix = "".join(f"{name}/" for name in above)
            for entry in entries:
                count += 1
                if count > MAX_ENTRIES:
                    raise StagingError(f"The workspace holds more than {MAX_ENTRIES} files.")
                try:
                    mark = Mark.of(entry.stat(follow_symlinks=False))
                except OSError:
                    continue  # gone meanwhile
                path = f"{prefix}{entry.name}"
                yield Seen(path, handle, entry.name, mark)
                if mark.is_directory and enter(path):
                    if len(above) + 1 >= MAX_DEPTH:
                        raise StagingError(f"The workspace holds directories more than {MAX_DEPTH} levels deep.")
                    waiting.append((*above, entry.name))


def scan(root: int) -> dict[str, Mark]:
    """The mark of every entry below `root`, by path.

    Raises:
        StagingError: There are too many.
    """
    return {seen.path: seen.mark for seen in walk(root)}


@contextmanager
def _listed(root: int, parts: tuple[str, ...]) -> Iterator[tuple[int, list[os.DirEntry[str]]]]:
    found = open_beneath(root, parts)
    try:
        handle = os.open(".", LISTING_FLAGS, dir_fd=found)
    finally:
        os.close(found)
    try:
        with os.scandir(handle) as entries:
            yield handle, sorted(entries, key=lambda entry: entry.name)
    finally:
        os.close(handle)
