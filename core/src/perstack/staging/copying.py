"""A whole workspace copied for skills: by shared blocks where the file system can, and never as a second name."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from perstack_proxy.beneath import FILE_FLAGS
from perstack_proxy.filenames import is_secret

from perstack.errors import StagingError
from perstack.staging.walk import Mark, Seen, opened, walk

MAX_BYTES = 4 * 1024**3
KEPT_BITS = 0o777
CHUNK = 1024 * 1024
_FICLONE = 0x40049409


class Both(NamedTuple):
    """An entry on the host, as it was when it was copied or brought back, and in the copy, as it was then."""

    host: Mark
    copy: Mark


class Owner(NamedTuple):
    """User and group that the copy belongs to."""

    uid: int
    gid: int


def copy_tree(workspace: Path, target: Path, owner: Owner) -> Mapping[str, Both]:
    """Everything in `workspace` is in `target`, which was not there; files for secrets and special files are not.

    Raises:
        StagingError: There is too much of it, or no room for it.
    """
    chowned = owner if os.geteuid() == 0 else None
    copied: dict[str, Both] = {}
    size = 0
    with opened(workspace) as root:
        try:
            target.mkdir(mode=0o700)
            for seen in walk(root, enter=lambda path: path in copied):
                if is_secret((seen.name,)):
                    continue
                size += seen.mark.size
                if size > MAX_BYTES:
                    raise StagingError(
                        f"The workspace {str(workspace)!r} is too large to be copied: more than {MAX_BYTES} bytes.",
                        hint="Choose a smaller directory, or one that need not be copied.",
                    )
                with suppress(FileNotFoundError, PermissionError):  # gone, or not ours to read
                    if mark := _copy(seen, str(target / seen.path), chowned):
                        copied[seen.path] = Both(seen.mark, mark)
            if chowned:
                os.chown(target, *chowned)
        except OSError as error:
            raise StagingError(f"The workspace {str(workspace)!r} cannot be copied: {error.strerror}.") from error
    return copied


def _copy(seen: Seen, target: str, owner: Owner | None) -> Mark | None:
    """The mark of the copy of one entry, or None for what is not copied."""
    if seen.mark.is_link:
        os.symlink(os.readlink(seen.name, dir_fd=seen.parent), target)
    elif seen.mark.is_directory:
        os.mkdir(target, 0o700)
    elif seen.mark.is_file:
        return _copy_file(seen, target, owner)
    else:
        return None
    if owner:
        os.chown(target, *owner, follow_symlinks=False)
    if seen.mark.is_directory:
        os.chmod(target, seen.mark.mode & KEPT_BITS | 0o700)
    return Mark.of(os.lstat(target))


def _copy_file(seen: Seen, target: str, owner: Owner | None) -> Mark:
    source = os.open(seen.name, os.O_RDONLY | FILE_FLAGS, dir_fd=seen.parent)
    try:
        found = os.fstat(source)
        copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE_FLAGS, 0o600)
        try:
            copy_bytes(source, copy)
            if owner:
                os.fchown(copy, *owner)
            os.fchmod(copy, found.st_mode & KEPT_BITS)
            os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
            return Mark.of(os.fstat(copy))
        finally:
            os.close(copy)
    finally:
        os.close(source)


def copy_bytes(source: int, target: int) -> None:
    """What is in the file `source` is in the empty file `target`: shared until one of them is written, if possible."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.ioctl(target, _FICLONE, source)
            return
    while chunk := os.read(source, CHUNK):
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]
