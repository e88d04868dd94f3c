"""Archives of packages, unpacked on the trusted side: plain files below one directory, and nothing else.

No link, no device, no mode but "a program or not", no path that leaves the directory, and a bound on what comes out.
The bytes were compared with the lock before; that says that they are what was locked, and nothing of their manners.
"""

from __future__ import annotations

import configparser
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from perstack_proxy.limits import MIB

from perstack.errors import SkillError

FILES = 200_000
BYTES = 2048 * MIB
"""Of one package, unpacked."""
HEADER_BYTES = MIB
"""Of what a tar archive says between two files, and of a wheel's list of commands: it is read into memory."""
CHUNK_BYTES = MIB
PATH_CHARACTERS = 1024
SEGMENT_BYTES = 255
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_DRIVE = re.compile(r"[A-Za-z]:")
_COMMAND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

LAUNCHER = """\
import os
import site
import sys

packages = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "site")
sys.path.insert(0, packages)
site.addsitedir(packages)
from {module} import {first}

sys.exit({function}())
"""


class Unpacked:
    """Counts what one archive puts below a directory."""

    def __init__(self, package: str, root: Path) -> None:
        self._package = package
        self._root = root
        self._files = 0
        self._bytes = 0

    def put(self, name: str, content: IO[bytes], *, program: bool) -> None:
        """Write one file; an archive that has it twice is refused.

        Raises:
            SkillError: Its name or its size is not allowed.
        """
        self.count()
        target = self._root.joinpath(*self._segments(name))
        try:
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            file = target.open("xb")
        except OSError as error:
            raise SkillError(f"Package {self._package!r} cannot be unpacked at {name!r}: {error.strerror}.") from None
        with file:
            while chunk := content.read(CHUNK_BYTES):
                self._bytes += len(chunk)
                if self._bytes > BYTES:
                    raise self._too_much()
                file.write(chunk)
        target.chmod(0o755 if program else 0o644)

    def count(self) -> None:
        """One more entry of the archive.

        Raises:
            SkillError: It was one too many.
        """
        self._files += 1
        if self._files > FILES:
            raise self._too_much()

    def _too_much(self) -> SkillError:
        return SkillError(f"Package {self._package!r} holds more than a package may.")

    def _segments(self, name: str) -> list[str]:
        segments = [segment for segment in name.split("/") if segment not in {"", "."}]
        bad = name.startswith("/") or "\\" in name or "\0" in name or ".." in segments or not segments
        bad = bad or any(map(_DRIVE.match, segments))  # on Windows
        if bad or len(name) > PATH_CHARACTERS or any(len(one.encode()) > SEGMENT_BYTES for one in segments):
            raise SkillError(f"Package {self._package!r} has a file with a name that is not allowed: {name[:200]!r}.")
        return segments


def unpack_npm(package: str, archive: bytes, root: Path) -> None:
    """The package's files are below `root`: without the archive's outermost folder, as npm does it.

    Raises:
        SkillError: The archive is not what an npm package is.
    """
    target = Unpacked(package, root)
    plain = _Inflated(archive)
    try:
        with tarfile.open(fileobj=plain, mode="r|") as tar:
            for member in tar:
                plain.allow(member.size if member.isreg() else 0)
                inner = member.name.lstrip("./").partition("/")[2]
                content = tar.extractfile(member) if member.isreg() and inner else None
                if content is None:
                    target.count()
                else:
                    target.put(inner, content, program=bool(member.mode & 0o111))
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise SkillError(f"The archive of package {package!r} cannot be read: {error}.") from None


class _Inflated(gzip.GzipFile):
    """The bytes of a gzip archive, as many as were allowed: a small archive can say that it has very long names."""

    def __init__(self, archive: bytes) -> None:
        super().__init__(fileobj=io.BytesIO(archive))
        self._whole = 2 * BYTES  # with all that is said of files, and those that are left out
        self.allow(0)

    def allow(self, size: int) -> None:
        """From here on a file of `size` bytes may come, and what the archive says before the one after it."""
        self._left = min(size, BYTES) + HEADER_BYTES

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, for `tarfile`.

        Raises:
            ValueError: There are more than were allowed.
        """
        data = super().read(size)
        self._left -= len(data)
        self._whole -= len(data)
        if min(self._left, self._whole) < 0:
            raise ValueError("it is longer than it may be")
        return data


def unpack_wheel(package: str, archive: bytes, root: Path) -> None:
    """The wheel's modules are in ``site`` below `root`, and its commands in ``bin``.

    Raises:
        SkillError: The archive is no wheel.
    """
    target = Unpacked(package, root)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as wheel:
            for info in wheel.infolist():
                place = None if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16) else _place(info.filename)
                if place is None:
                    target.count()
                    continue
                with wheel.open(info) as content:
                    target.put(place, content, program=bool(info.external_attr >> 16 & 0o111))
            for name, text in _launchers(wheel):
                target.put(f"bin/{name}", io.BytesIO(text.encode()), program=True)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError, zlib.error, lzma.LZMAError) as error:
        raise SkillError(f"The wheel of package {package!r} cannot be read: {error}.") from None


def _place(name: str) -> str | None:
    """Where a file of a wheel goes; None for what only an installation into a system would need."""
    head, _, rest = name.partition("/")
    if not head.endswith(".data"):
        return f"site/{name}"
    kind, _, inner = rest.partition("/")
    folder = {"purelib": "site", "platlib": "site", "scripts": "bin"}.get(kind)
    return f"{folder}/{inner}" if folder and inner else None


def _launchers(wheel: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """The commands that the wheel's entry points are, as programs."""
    for name in wheel.namelist():
        if not re.fullmatch(r"[^/]+\.dist-info/entry_points\.txt", name):
            continue
        parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
        with wheel.open(name) as file:
            text = file.read(HEADER_BYTES).decode("utf-8", "replace")
        try:
            parser.read_string(text)
        except configparser.Error:
            continue
        for command, entry in parser.items("console_scripts") if parser.has_section("console_scripts") else []:
            module, _, function = entry.partition("[")[0].strip().partition(":")
            if _COMMAND.fullmatch(command) and _MODULE.fullmatch(module) and _MODULE.fullmatch(function):
                first = function.partition(".")[0]
                yield command, LAUNCHER.format(module=module, first=first, function=function)
