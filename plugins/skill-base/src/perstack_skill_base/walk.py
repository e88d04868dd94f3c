"""A tree of files below a handle, in order, without following a link and without leaving it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from perstack_proxy.beneath import LISTING_FLAGS


class TooMuchError(Exception):
    """The tree has more entries than may be looked at."""


class Folder(NamedTuple):
    """A directory of the tree.

    Attributes:
        handle: Open as long as it is the current one.
        path: Relative to the root, ending in a slash; empty for the root.
        files: Names of entries that are no directories, sorted.
        folders: Names of the directories in it, sorted; the walk enters what is left of this list.
    """

    handle: int
    path: str
    files: list[os.DirEntry[str]]
    folders: list[str]


def walk(root: int, *, entries: int, depth: int, check: Callable[[], None] = lambda: None) -> Iterator[Folder]:
    """Each directory from `root` on, parents first.

    Args:
        root: Handle of the first directory.
        entries: Most entries to look at.
        depth: Deepest level to enter.
        check: Called for each directory; may raise to end the walk.

    Raises:
        TooMuchError: The tree has more entries, or is deeper.
    """
    seen = 0
    stack: list[tuple[int, str, list[str]]] = []
    handle, path = os.open(".", LISTING_FLAGS, dir_fd=root), ""
    try:
        while True:
            check()
            folder = _read(handle, path)
            seen += len(folder.files) + len(folder.folders)
            if seen > entries:
                raise TooMuchError(f"more than {entries} entries")
            yield folder
            stack.append((handle, path, folder.folders[::-1]))
            handle = -1
            while handle < 0:
                if not stack:
                    return
                parent, above, waiting = stack[-1]
                if not waiting:
                    os.close(parent)
                    stack.pop()
                    continue
                name = waiting.pop()
                if len(stack) > depth:
                    raise TooMuchError(f"more than {depth} levels")
                try:
                    handle, path = os.open(name, LISTING_FLAGS, dir_fd=parent), f"{above}{name}/"
                except OSError:
                    continue  # it went away, became a link, or may not be read
    finally:
        if handle >= 0:
            os.close(handle)
        for opened, _, _ in stack:
            os.close(opened)


def _read(handle: int, path: str) -> Folder:
    files, folders = [], []
    with os.scandir(handle) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                files.append(entry)
    files.sort(key=lambda entry: entry.name)
    folders.sort()
    return Folder(handle, path, files, folders)
