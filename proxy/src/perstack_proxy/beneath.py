"""Directories opened below a handle, without following a link and without leaving it; and new names that were free.

Two ways give the same guarantee. `openat2` lets the kernel resolve a whole path; the walk opens component by component
with `O_NOFOLLOW`. Neither accepts ``..``: the caller has removed it. Only directories are opened here, because every
operation on a last component is an ``*at`` call on its parent's handle.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence

_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

DIRECTORY_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _SAFE
"""A handle that needs no read permission on Linux; elsewhere an ordinary read-only one."""
LISTING_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _SAFE
"""A directory whose entries are read."""
FILE_FLAGS = _SAFE | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
"""Never waits for a FIFO's other end, never follows the last component, never becomes a controlling terminal."""

_SYS_OPENAT2 = 437  # the same number on every architecture
_SYS_RENAMEAT2 = {"x86_64": 316, "aarch64": 276, "riscv64": 276}
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_RENAME_NOREPLACE = 1


def open_beneath(root: int, parts: Sequence[str]) -> int:
    """A new handle for the directory `parts` below `root`.

    Raises:
        OSError: A component is missing, is a symbolic link, or is not a directory.
    """
    handle = open_by_kernel(root, parts) if parts else os.dup(root)
    return open_by_walk(root, parts) if handle is None else handle


def open_by_kernel(root: int, parts: Sequence[str]) -> int | None:
    """The directory's handle by one `openat2`, or None if the kernel has no such call or refuses the path."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes
    import struct

    how = struct.pack("=QQQ", DIRECTORY_FLAGS, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    path = os.fsencode("/".join(parts))
    handle = int(ctypes.CDLL(None).syscall(_SYS_OPENAT2, root, path, how, len(how)))
    return None if handle < 0 else handle


def _enter(parent: int, parts: Sequence[str]) -> int:
    return os.open(parts[-1], DIRECTORY_FLAGS, dir_fd=parent)


def open_by_walk(root: int, parts: Sequence[str], *, enter: Callable[[int, Sequence[str]], int] = _enter) -> int:
    """The directory's handle by one `openat` for each component.

    Args:
        root: Where the walk starts.
        parts: Names of directories, each in the one before it.
        enter: Opens one component, given its parent's handle and the path so far.
    """
    handle = os.dup(root)
    try:
        for depth in range(1, len(parts) + 1):
            inner = enter(handle, parts[:depth])
            os.close(handle)
            handle = inner
    except BaseException:
        os.close(handle)
        raise
    return handle


def rename_new(source: int, source_name: str, destination: int, destination_name: str) -> None:
    """The entry has its new name, which was free. One step where the kernel has `renameat2`, else check and rename.

    Raises:
        FileExistsError: Something has the new name.
        OSError: The system refused.
    """
    if not _rename_by_kernel(source, source_name, destination, destination_name):
        try:
            os.stat(destination_name, dir_fd=destination, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(source_name, destination_name, src_dir_fd=source, dst_dir_fd=destination)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _rename_by_kernel(source: int, source_name: str, destination: int, destination_name: str) -> bool:
    number = _SYS_RENAMEAT2.get(os.uname().machine) if sys.platform.startswith("linux") else None
    if number is None:
        return False
    import ctypes

    syscall = ctypes.CDLL(None, use_errno=True).syscall
    old, new = os.fsencode(source_name), os.fsencode(destination_name)
    if syscall(number, source, old, destination, new, _RENAME_NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL):  # an old kernel, or a file system without the flag
        return False
    raise OSError(code, os.strerror(code))
