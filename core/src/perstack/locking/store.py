"""Unpacked packages on this machine, named by what the lock says of them, mounted read-only, looked at before each use.

Every runtime gets them from here, so one lock serves all engines. A package set is a directory named by the hash of its
part of the lock; beside it lies a list of its files with their hashes, written when every archive agreed with the lock.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from perstack_proxy.limits import MIB

from perstack.errors import SkillError, UserError
from perstack.ids import new_id

if TYPE_CHECKING:
    from perstack.locking.lockfile import PackageSet

FOLDER = "packages"
"""Of the cache directory."""
FORMAT = 1
DAY = 86400.0
LIST_BYTES = 256 * MIB
CHUNK = MIB
PROGRAM = "x"
"""Ends the hash of a file that can be run."""


class Contents(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a package set holds: the hash of each file by its path, and the words that people know the set by."""

    title: str
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A package set that is there. `used` is when it was last used, in seconds of the clock."""

    key: str
    title: str
    used: float


def set_key(packages: PackageSet, machine: str) -> str:
    """Names the content of a package set on one kind of machine."""
    digest = hashlib.sha256(f"{FORMAT} {machine} {packages.python}\n".encode())
    for npm in sorted(packages.npm, key=lambda one: one.path):
        digest.update(f"{npm.path} {npm.name} {npm.version} {npm.integrity} {npm.os} {npm.cpu}\n".encode())
    for pypi in sorted(packages.pypi, key=lambda one: one.name):
        digest.update(f"{pypi.name} {pypi.version} {sorted(pypi.wheels.items())}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Store:
    """A directory of package sets; nobody but its user writes there."""

    directory: Path

    def find(self, key: str) -> Path | None:
        """The directory of a set, or None when it is not on this machine."""
        return self._tree(key) if self._list(key).is_file() and self._tree(key).is_dir() else None

    @contextmanager
    def adding(self, key: str, *, title: str) -> Iterator[Path]:
        """An empty directory that becomes the set of that key when the block ends without an error.

        Raises:
            UserError: The cache cannot be written.
        """
        made = self.directory / f".{key}.{new_id()}"
        self._clear_unfinished()
        try:
            made.mkdir(mode=0o755, parents=True)
            try:
                yield made
                contents = Contents(title=title, files=dict(_files(made)))
                self._list(key).unlink(missing_ok=True)
                if self._tree(key).exists():
                    _remove(self._tree(key))
                with suppress(OSError):  # another perstack has just added the same
                    made.rename(self._tree(key))
                temporary = made.with_name(f"{made.name}.new")
                temporary.write_bytes(msgspec.json.encode(contents, order="sorted"))
                temporary.replace(self._list(key))
            finally:
                _remove(made)
        except OSError as error:
            raise UserError(f"{self.directory} cannot be written: {error.strerror or error}.") from None

    def changes(self, key: str) -> tuple[str, ...]:
        """What is different from what was put there, path by path; nothing where the set is whole. Marks it as used.

        Raises:
            SkillError: The set is not there.
        """
        try:
            with self._list(key).open("rb") as file:
                contents = msgspec.json.decode(file.read(LIST_BYTES), type=Contents)
            os.utime(self._list(key))
            found = dict(_files(self._tree(key)))
        except (OSError, msgspec.MsgspecError) as error:
            raise SkillError(f"The installed packages cannot be read: {error}.", hint="perstack install") from None
        paths = sorted(found.keys() | contents.files.keys())
        return tuple(
            f"{path} {_change(contents.files.get(path), found.get(path))}"
            for path in paths
            if contents.files.get(path) != found.get(path)
        )

    def kept(self) -> tuple[Kept, ...]:
        """Every set, the one that was used last first."""
        found = []
        for path in self.directory.glob("*.json"):
            with suppress(OSError, msgspec.MsgspecError):
                title = msgspec.json.decode(path.read_bytes(), type=Contents).title
                found.append(Kept(key=path.stem, title=title, used=path.stat().st_mtime))
        return tuple(sorted(found, key=lambda one: -one.used))

    def unused(self, days: float) -> tuple[Kept, ...]:
        """The sets that were not used for so long."""
        return tuple(one for one in self.kept() if one.used <= time.time() - days * DAY)

    def remove(self, key: str) -> None:
        """The set is gone; a lock that names it can bring it back."""
        self._list(key).unlink(missing_ok=True)
        _remove(self._tree(key))

    def _clear_unfinished(self) -> None:
        """What an installation that was killed had begun is gone a day later: then nobody works on it any more."""
        with suppress(OSError):
            for begun in self.directory.glob(".*"):
                if begun.stat().st_mtime < time.time() - DAY:
                    begun.unlink() if begun.is_file() else _remove(begun)

    def _tree(self, key: str) -> Path:
        return self.directory / key

    def _list(self, key: str) -> Path:
        return self.directory / f"{key}.json"


def _change(was: str | None, now: str | None) -> str:
    return "was added" if was is None else "is gone" if now is None else "was changed"


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Path and hash of everything below `root`; what is no plain file has a name in the place of its hash."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield path, _digest(entry.path)
                else:
                    yield path, "no file"


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest + (PROGRAM if mode & stat.S_IXUSR else "")


def _remove(tree: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
