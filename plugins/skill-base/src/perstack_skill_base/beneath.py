"""Directories of the workspace opened without following a link, with refusals written for the model.

How that is done, `perstack_proxy.beneath` says; `paths` removes every ``..`` before.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from perstack_proxy import beneath
from perstack_proxy.beneath import DIRECTORY_FLAGS, open_by_kernel
from perstack_proxy.sanitise import sanitise_line

from perstack_skill_base.errors import ToolError, from_os_error, not_a_directory, symbolic_link


def open_directory(root: int, parts: Sequence[str]) -> int:
    """A new handle for the directory `parts` below `root`.

    Raises:
        ToolError: A component is missing, is a symbolic link, or is not a directory.
    """
    if not parts:
        return os.dup(root)
    handle = open_by_kernel(root, parts)
    return open_by_walk(root, parts) if handle is None else handle


def open_by_walk(root: int, parts: Sequence[str], *, create: bool = False) -> int:
    """The directory's handle by one `openat` for each component; `create` makes the missing ones."""
    return beneath.open_by_walk(root, parts, enter=_make_and_enter if create else _enter)


def _make(parent: int, name: str) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        pass  # a directory is what we want; anything else is refused when it is entered
    except OSError as error:
        raise from_os_error(error, name) from None


def _enter(parent: int, parts: Sequence[str]) -> int:
    name = parts[-1]
    try:
        return os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
    except OSError as error:
        raise _why(error, parent, name, "/".join(parts)) from None


def _make_and_enter(parent: int, parts: Sequence[str]) -> int:
    _make(parent, parts[-1])
    return _enter(parent, parts)


def _why(error: OSError, parent: int, name: str, shown: str) -> ToolError:
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return link_error(parent, name, shown) or not_a_directory(shown)
    return from_os_error(error, shown)


def link_error(parent: int, name: str, shown: str) -> ToolError | None:
    """The refusal to follow an entry if it is a symbolic link; its target is named and never looked at."""
    try:
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return symbolic_link(shown, sanitise_line(os.readlink(name, dir_fd=parent), limit=200))
    except OSError:
        pass  # it changed meanwhile: the caller's own error stands
    return None
