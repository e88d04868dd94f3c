"""A copy on its way to an engine that cannot mount it, and back, as a tar archive.

What comes back was written by skills: it is bounded in bytes, entries and depth, nothing in it can name a place
outside, and it is taken whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from perstack.errors import StagingError
from perstack.staging.applying import Side, same
from perstack.staging.copying import CHUNK, KEPT_BITS, MAX_BYTES, Owner
from perstack.staging.walk import MAX_DEPTH, MAX_ENTRIES, Seen, opened, scan, walk

MAX_HEADER_BYTES = 64 * 1024
"""For the names of one entry, which are held in memory; the kernel's longest path has 4 KiB."""
BUFFER = 64 * 1024
_HEADERS = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)


def pack(directory: Path, write: Callable[[bytes], object], *, root: str, owner: Owner) -> int:
    """Everything in `directory`, which nobody changes, goes through `write` as an archive of the directory `root`.

    Returns:
        How many bytes its files have.

    Raises:
        StagingError: It cannot be read, or there is too much of it.
    """
    sink = cast("IO[bytes]", _Sink(write))
    with (
        _failing(f"The directory {str(directory)!r} cannot be read"),
        opened(directory) as handle,
        tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT, bufsize=BUFFER) as archive,
    ):
        archive.addfile(_entry(root, os.fstat(handle), owner, kind=tarfile.DIRTYPE))
        size = 0
        for seen in walk(handle):
            _pack_one(archive, seen, f"{root}/{seen.path}", owner)
            size += seen.mark.size
    return size


class _Sink:
    """As much of a file as `tarfile` writes to."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.write = write


def _pack_one(archive: tarfile.TarFile, seen: Seen, name: str, owner: Owner) -> None:
    if seen.mark.is_file:
        with open(os.open(seen.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=seen.parent), "rb") as file:
            found = os.fstat(file.fileno())
            archive.addfile(_entry(name, found, owner, size=found.st_size), file)
        return
    found = os.stat(seen.name, dir_fd=seen.parent, follow_symlinks=False)
    if seen.mark.is_directory:
        archive.addfile(_entry(name, found, owner, kind=tarfile.DIRTYPE))
    elif seen.mark.is_link:
        entry = _entry(name, found, owner, kind=tarfile.SYMTYPE)
        entry.linkname = os.readlink(seen.name, dir_fd=seen.parent)
        archive.addfile(entry)


def _entry(
    name: str, found: os.stat_result, owner: Owner, *, kind: bytes = tarfile.REGTYPE, size: int = 0
) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode, entry.mtime = kind, size, found.st_mode & KEPT_BITS, int(found.st_mtime)
    entry.uid, entry.gid = owner
    return entry


def fetch(source: IO[bytes], directory: Path, *, root: str, place: Path) -> int:
    """`directory` is as the archive of `root` says; what is the same in both stays the file that it was.

    Args:
        source: The archive.
        directory: A copy that nobody else uses.
        root: The archive's only name at the top.
        place: Where the archive is unpacked, on the same file system; not there before, and not after.

    Returns:
        How many bytes its files have.

    Raises:
        StagingError: It is no whole archive, or there is too much in it; nothing was changed.
    """
    found = os.stat(directory)
    try:
        size = unpack(source, place, root=root, owner=Owner(found.st_uid, found.st_gid))
        _take_over(directory, place)
        return size
    finally:
        shutil.rmtree(place, ignore_errors=True)


def unpack(source: IO[bytes], target: Path, *, root: str, owner: Owner) -> int:
    """The files, directories and links of an archive are in `target`, which was not there; no other kinds are.

    A file with a second name becomes two files. Bits beyond those of permissions are dropped.

    Returns:
        How many bytes the files have.

    Raises:
        StagingError: It is no whole archive, names a place outside of `root`, or has too much in it.
    """
    with _failing("What came back from the engine cannot be taken"):
        target.mkdir(mode=0o700)
        return _Unpacking(target, owner).run(source, root)


class _Unpacking:
    """One archive that is being unpacked into a directory that nobody else can enter."""

    def __init__(self, target: Path, owner: Owner) -> None:
        self._target = target
        self._owner = owner if os.geteuid() == 0 else None
        self._kinds: dict[str, str] = {}
        self._bytes = 0

    def run(self, source: IO[bytes], root: str) -> int:
        with tarfile.open(fileobj=source, mode="r|", tarinfo=_Header, bufsize=BUFFER) as archive:
            for count, member in enumerate(archive):
                archive.members.clear()  # type: ignore[attr-defined]  # they would stay in memory
                if count > MAX_ENTRIES:
                    raise StagingError(f"It holds more than {MAX_ENTRIES} files.")
                path = _inside(member.name, root)
                if path:
                    self._take(archive, member, path, root)
                elif member.isdir():
                    self._kinds[""] = "directory"
        if not self._kinds:
            raise StagingError("It is empty.")
        return self._bytes

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, root: str) -> None:
        above, _, _ = path.rpartition("/")
        if path in self._kinds or self._kinds.get(above) != "directory":
            raise StagingError(f"It names {path!r} twice, or in what is no directory.")
        place = self._target / path
        if member.isdir():
            self._kinds[path] = "directory"
            place.mkdir(mode=0o700)
            place.chmod(member.mode & KEPT_BITS | 0o700)
        elif member.issym():
            self._kinds[path] = "link"
            place.symlink_to(member.linkname)
        elif member.islnk() and self._kinds.get(first := _inside(member.linkname, root)) == "file":
            with open(self._target / first, "rb") as file:
                self._fill(path, file, os.fstat(file.fileno()).st_size, member.mode)
        elif member.isreg() and not member.issparse():
            content = archive.extractfile(member)
            if content is None:
                raise StagingError(f"It has no content for {path!r}.")
            self._fill(path, content, member.size, member.mode)
        else:
            return  # a device, a pipe: nothing that a project holds
        if self._owner:
            os.chown(place, *self._owner, follow_symlinks=False)

    def _fill(self, path: str, content: IO[bytes], size: int, mode: int) -> None:
        self._bytes += size
        if self._bytes > MAX_BYTES:
            raise StagingError(f"It holds more than {MAX_BYTES} bytes.")
        self._kinds[path] = "file"
        with open(self._target / path, "xb") as file:
            shutil.copyfileobj(content, file, CHUNK)
            os.fchmod(file.fileno(), mode & KEPT_BITS | 0o400)


class _Header(tarfile.TarInfo):
    """A header that says what it must; the archive's end is its two empty blocks and nothing else.

    By itself `tarfile` takes a broken header, or none, for the end, and reads names of any length into memory.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            return super().frombuf(buf, encoding, errors)  # which says that this is the end
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise StagingError(f"It is no whole archive: {error}.") from None
        if (header.type in _HEADERS and header.size > MAX_HEADER_BYTES) or header.size < 0:
            raise StagingError(f"It has a name of {header.size} bytes.")
        return header


def _inside(name: str, root: str) -> str:
    """The path below `root` that an archive means, empty for `root` itself.

    Raises:
        StagingError: It is none.
    """
    top, *parts = name.rstrip("/").split("/")
    if top != root or len(parts) > MAX_DEPTH or not all(part not in ("", ".", "..") for part in parts):
        raise StagingError(f"It names {name[:200]!r}, which is no place in the workspace.")
    return "/".join(parts)


def _take_over(directory: Path, arrived: Path) -> None:
    with _failing(f"The copy {str(directory)!r} cannot be changed"), opened(directory) as old, opened(arrived) as new:
        there, came = scan(old), scan(new)
        before, after = Side(old), Side(new)
        for path in sorted(there, reverse=True):  # what is in a directory before the directory
            was = there[path]
            if path not in came or came[path].is_directory != was.is_directory:
                (os.rmdir if was.is_directory else os.unlink)(directory / path)
        for path in sorted(came):
            mark, was_there = came[path], there.get(path)
            if mark.is_directory:
                if was_there is None or not was_there.is_directory:
                    os.mkdir(directory / path, 0o700)
                    _own(directory / path, arrived / path)
                os.chmod(directory / path, mark.mode & KEPT_BITS)
            elif was_there is None or was_there.mode != mark.mode or not same(before, after, path):
                os.rename(arrived / path, directory / path)


def _own(place: Path, like: Path) -> None:
    if os.geteuid() == 0:
        found = os.stat(like)
        os.chown(place, found.st_uid, found.st_gid)


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise StagingError(f"{what}: {error}.") from error
