"""Files and directories that only their owner can read, and the lock that lets one process write."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

LOCK_WAIT_SECONDS = 0.5
"""Long enough for a reader that looks whether a job is running, far too short for a run to end."""

_BEYOND = 1 << 62
"""On Windows a locked byte cannot be read, so the lock lies where no journal will ever be."""


def open_private(path: Path, flags: int) -> int:
    """A descriptor of `path`, with mode 0600 if it is made; a symbolic link is refused."""
    extra = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, flags | extra, 0o600)


def private_directory(path: Path) -> None:
    """`path` exists, with mode 0700 if it was made here, and its name is on disk.

    Raises:
        NotADirectoryError: Something else has the name.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
        return
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """The names in `path` are on disk. Windows has no such call and needs none."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """All of `data` is written.

    Raises:
        OSError: The disk is full, or broken; a part may have been written.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def lock(descriptor: int, *, shared: bool = False, wait: float = LOCK_WAIT_SECONDS) -> bool:
    """Whether the file is now locked by us; False when another process still held it after `wait` seconds."""
    deadline = time.monotonic() + wait
    while not _try_lock(descriptor, shared=shared):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        del shared  # this system's call knows exclusive locks only
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, position, os.SEEK_SET)
        return True

else:
    import fcntl

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
