"""A copy of the workspace for a sandbox whose user cannot write to the host's files, and the way back.

A run by root needs it: the sandbox is never root, and root's files are root's. What a skill changed in the copy is
brought back when its sandbox closes. A host file that changed meanwhile is never overwritten: that is a conflict, and
the host's file stays. Control files are never brought back, secret files are never copied.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perstack.errors import SandboxUnavailable
from perstack_proxy.filenames import is_secret as _is_secret
from perstack_proxy.filenames import obeyed_by

MAX_BYTES = 4 * 1024**3
MAX_ENTRIES = 200_000
CHUNK = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What tells whether a file changed: kind and permissions, size, and the times that the kernel keeps."""

    mode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: str) -> Mark | None:
        """The mark of what is there, or None; a link is not followed."""
        try:
            found = os.lstat(path)
        except OSError:
            return None
        size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
        times = (0, 0) if stat.S_ISDIR(found.st_mode) else (found.st_mtime_ns, found.st_ctime_ns)
        return cls(mode=found.st_mode, size=size, modified=times[0], changed=times[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What became of the changes, as paths relative to the workspace.

    Attributes:
        conflicts: Changed on both sides; the host's stays.
        held_back: Control files and special files, which are not brought back.
    """

    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    held_back: tuple[str, ...] = ()


class Staging:
    """One copy of one workspace, shared by the sandboxes of a run."""

    def __init__(self, workspace: Path, copy: Path, *, uid: int, gid: int) -> None:
        self._workspace = workspace
        self.copy = copy
        self._uid = uid
        self._gid = gid
        self._ours: dict[str, Mark | None] = {}
        self._theirs: dict[str, Mark | None] = {}

    def make(self) -> None:
        """The copy is complete, and belongs to the sandbox's user.

        Raises:
            SandboxUnavailable: The workspace is too large to copy.
        """
        self.copy.mkdir(parents=True, mode=0o700)
        size = 0
        for relative in _entries(self._workspace):
            source, target = self._workspace / relative, self.copy / relative
            if is_secret(relative):
                continue
            found = source.lstat()
            size += found.st_size
            if size > MAX_BYTES or len(self._ours) > MAX_ENTRIES:
                raise SandboxUnavailable(
                    f"The workspace {str(self._workspace)!r} is too large to be copied for a sandbox.",
                    hint="Run perstack as an ordinary user who owns it: then it is mounted and not copied.",
                )
            self._copy_one(source, target, found.st_mode)
            self._remember(relative)
        os.chown(self.copy, self._uid, self._gid)

    def apply(self) -> Applied:
        """Everything that the sandboxes changed since the last time is on the host, but for conflicts."""
        written, removed, conflicts, held_back = [], [], [], []
        present = set()
        for relative in _entries(self.copy):
            present.add(relative)
            mark = Mark.of(str(self.copy / relative))
            if mark is None or mark == self._theirs.get(relative):
                continue
            if is_control(relative) or is_secret(relative) or not _is_ordinary(mark.mode):
                held_back.append(relative)
            elif not self._may_change(relative):
                conflicts.append(relative)
            else:
                self._bring_back(relative, mark)
                written.append(relative)
                self._ours[relative] = Mark.of(str(self._workspace / relative))
            self._theirs[relative] = mark
        for relative in sorted(set(self._theirs) - present, reverse=True):
            self._theirs.pop(relative)
            if is_control(relative):
                held_back.append(relative)
            elif self._may_change(relative) and _removed(self._workspace / relative):
                removed.append(relative)
            else:
                conflicts.append(relative)
        return Applied(
            written=tuple(written),
            removed=tuple(removed),
            conflicts=tuple(conflicts),
            held_back=tuple(held_back),
        )

    def drop(self) -> None:
        """The copy is gone."""
        shutil.rmtree(self.copy, ignore_errors=True)

    def _copy_one(self, source: Path, target: Path, mode: int) -> None:
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), target)
        elif stat.S_ISDIR(mode):
            target.mkdir(mode=0o700)
        elif stat.S_ISREG(mode):
            shutil.copyfile(source, target, follow_symlinks=False)
            os.utime(target, ns=(source.lstat().st_atime_ns, source.lstat().st_mtime_ns))
        else:
            return
        os.chown(target, self._uid, self._gid, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            target.chmod(stat.S_IMODE(mode) & 0o777)

    def _remember(self, relative: str) -> None:
        self._ours[relative] = Mark.of(str(self._workspace / relative))
        self._theirs[relative] = Mark.of(str(self.copy / relative))

    def _may_change(self, relative: str) -> bool:
        """The host's file is as it was copied, and no directory above it has become a link."""
        parts = relative.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts))]
        if any(not _is_directory(self._workspace / directory) for directory in above):
            return False
        return Mark.of(str(self._workspace / relative)) == self._ours.get(relative)

    def _bring_back(self, relative: str, mark: Mark) -> None:
        source, target = self.copy / relative, self._workspace / relative
        if stat.S_ISDIR(mark.mode):
            if not _is_directory(target):
                _removed(target)
                target.mkdir()
            target.chmod(stat.S_IMODE(mark.mode) & 0o777)
        elif stat.S_ISLNK(mark.mode):
            _removed(target)
            os.symlink(os.readlink(source), target)
        else:
            if _is_directory(target):
                _removed(target)
            _replace(source, target)


def _replace(source: Path, target: Path) -> None:
    """`target` has the bytes of `source`, at once and whole; the bytes are read from a plain file or not at all."""
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as reader:
        found = os.fstat(reader.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{source} is no plain file any more")
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".perstack-")
        try:
            with os.fdopen(handle, "wb") as writer:
                shutil.copyfileobj(reader, writer, CHUNK)
                os.fchmod(writer.fileno(), stat.S_IMODE(found.st_mode) & 0o777)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise


def _removed(path: Path) -> bool:
    """Whether it is gone; a directory goes only when it is empty."""
    try:
        path.rmdir() if _is_directory(path) else path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def is_secret(relative: str) -> bool:
    """Whether it is a secret file, or below such a directory."""
    return _is_secret(relative.split("/"))


def is_control(relative: str) -> bool:
    """Whether other programs obey it."""
    return obeyed_by(relative.split("/"), directory=False) is not None


def _is_directory(path: Path) -> bool:
    mark = Mark.of(str(path))
    return mark is not None and stat.S_ISDIR(mark.mode)


def _is_ordinary(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _entries(root: Path) -> Iterator[str]:
    """Every path below `root`, directories before what is in them; links are not followed."""
    for directory, directories, files in os.walk(root):
        prefix = os.path.relpath(directory, root)
        prefix = "" if prefix == "." else f"{prefix}/"
        directories.sort()
        yield from (f"{prefix}{name}" for name in (*directories, *sorted(files)))
