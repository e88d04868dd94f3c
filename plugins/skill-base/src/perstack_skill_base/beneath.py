"""Directories opened below a handle, without following a link and without leaving it.

Two ways give the same guarantee. `openat2` lets the kernel resolve a whole path; the walk opens component by component
with `O_NOFOLLOW`. Neither accepts `..`: `paths` removes it before. Only directories are opened here, because every
operation on a last component is an `*at` call on its parent's handle.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Sequence

from perstack_proxy.sanitise import sanitise_line

from perstack_skill_base.errors import ToolError, from_os_error, not_a_directory, symbolic_link
from perstack_skill_base.flags import DIRECTORY_FLAGS

_SYS_OPENAT2 = 437  # the same number on every architecture
_SYS_RENAMEAT2 = {"x86_64": 316, "aarch64": 276, "riscv64": 276}
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_RENAME_NOREPLACE = 1


def open_directory(root: int, parts: Sequence[str]) -> int:
    """A new handle for the directory `parts` below `root`.

    Raises:
        ToolError: A component is missing, is a symbolic link, or is not a directory.
    """
    if not parts:
        return os.dup(root)
    handle = open_by_kernel(root, parts)
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


def open_by_walk(root: int, parts: Sequence[str], *, create: bool = False) -> int:
    """The directory's handle by one `openat` for each component; `create` makes the missing ones."""
    handle = os.dup(root)
    try:
        for depth, name in enumerate(parts, start=1):
            if create:
                _make(handle, name)
            inner = _enter(handle, name, "/".join(parts[:depth]))
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


def _make(parent: int, name: str) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        pass  # a directory is what we want; anything else is refused when it is entered
    except OSError as error:
        raise from_os_error(error, name) from None


def _enter(parent: int, name: str, shown: str) -> int:
    try:
        return os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
    except OSError as error:
        raise _why(error, parent, name, shown) from None


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
