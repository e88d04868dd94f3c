"""A copy on its way to an engine that cannot mount it, and back, as a tar archive.

What comes back was written by skills: it is bounded in bytes, entries and depth, nothing in it can name a place
outside, and it is taken whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, cast

from perstack.errors import StagingError
from perstack.staging.applying import Side, same
from perstack.staging.copying import CHUNK, KEPT_BITS, MAX_BYTES, Owner
from perstack.staging.walk import MAX_DEPTH, MAX_ENTRIES, Seen, opened, scan, walk

MAX_HEADER_BYTES = 64 * 1024
"""For the names of one entry, which are held in memory; the kernel's longest path has 4 KiB."""
BUFFER = 64 * 1024
NOT_TAKEN = "What came back from the engine cannot be taken"
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
        owner = Owner(found.st_uid, found.st_gid)
        with _failing(NOT_TAKEN), opened(directory) as old:
            place.mkdir(mode=0o700)
            unpacked = _Unpacking(place, owner, Side(old))
            unpacked.run(source, root)
        _take_over(directory, place, unpacked.unchanged)
        return unpacked.size
    finally:
        shutil.rmtree(place, ignore_errors=True)


class _Unpacking:
    """The files, directories and links of an archive, unpacked into a directory that nobody else can enter.

    Other kinds are left out, a file with a second name becomes two, and bits beyond those of permissions are dropped.

    Attributes:
        unchanged: Files that are in `old` as they are here; they are not written again.
        size: How many bytes all files have.
    """

    def __init__(self, target: Path, owner: Owner, old: Side) -> None:
        self.unchanged: set[str] = set()
        self.size = 0
        self._target = target
        self._owner = owner if os.geteuid() == 0 else None
        self._old = old
        self._kinds: dict[str, str] = {}

    def run(self, source: IO[bytes], root: str) -> None:
        """Take all of it.

        Raises:
            StagingError: It is no whole archive, names a place outside of `root`, or has too much in it.
        """
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

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, root: str) -> None:
        above, _, _ = path.rpartition("/")
        if path in self._kinds or self._kinds.get(above) != "directory":
            raise StagingError(f"It names {path!r} twice, or in what is no directory.")
        if member.isdir():
            self._kinds[path] = "directory"
            (self._target / path).mkdir(mode=0o700)
            (self._target / path).chmod(member.mode & KEPT_BITS | 0o700)
        elif member.issym():
            self._kinds[path] = "link"
            (self._target / path).symlink_to(member.linkname)
        elif member.islnk() and self._kinds.get(first := _inside(member.linkname, root)) == "file":
            with self._first(first) as file:
                self._fill(path, file, os.fstat(file.fileno()).st_size, member.mode)
        elif member.isreg() and not member.issparse():
            content = archive.extractfile(member)
            if content is None:
                raise StagingError(f"It has no content for {path!r}.")
            self._fill(path, content, member.size, member.mode)
        else:
            return  # a device, a pipe: nothing that a project holds
        if self._owner and path not in self.unchanged:
            os.chown(self._target / path, *self._owner, follow_symlinks=False)

    @contextmanager
    def _first(self, path: str) -> Iterator[IO[bytes]]:
        """The file that was taken under another name."""
        if path not in self.unchanged:
            with open(self._target / path, "rb") as file:
                yield file
        else:
            with self._old.file(path) as handle, open(handle, "rb", closefd=False) as file:
                yield file

    def _fill(self, path: str, content: IO[bytes], size: int, mode: int) -> None:
        self.size += size
        if self.size > MAX_BYTES:
            raise StagingError(f"It holds more than {MAX_BYTES} bytes.")
        self._kinds[path] = "file"
        mode = mode & KEPT_BITS | 0o400
        if size <= CHUNK:
            data = content.read(size)
            if self._is_there(path, data, mode):
                self.unchanged.add(path)
                return
            content = BytesIO(data)
        with open(self._target / path, "xb") as file:
            shutil.copyfileobj(content, file, CHUNK)
            os.fchmod(file.fileno(), mode)

    def _is_there(self, path: str, data: bytes, mode: int) -> bool:
        with suppress(OSError), self._old.file(path) as handle:
            return stat.S_IMODE(os.fstat(handle).st_mode) == mode and os.read(handle, len(data) + 1) == data
        return False


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


def _take_over(directory: Path, arrived: Path, unchanged: set[str]) -> None:
    with _failing(f"The copy {str(directory)!r} cannot be changed"), opened(directory) as old, opened(arrived) as new:
        there, came = scan(old), scan(new)
        before, after = Side(old), Side(new)
        for path in sorted(there, reverse=True):  # what is in a directory before the directory
            was = there[path]
            if path in unchanged:
                continue
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
