"""Long strings of events, kept once each beside the journal.

A string of more than `INLINE_BYTES` becomes a reference that names its SHA-256, so an image that stands in ten events
is stored once and the journal stays small. The chain covers the reference, and the reference covers the content. The
cut is made in the event's bytes, not in decoded values: what is read back is what was appended, byte for byte. A blob
holds the string as JSON escapes it. A string that merely looks like a reference becomes a blob too, however short, so
that no tool can forge one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from pathlib import Path

from perstack.errors import JournalCorrupt
from perstack.journal.disk import open_private, private_directory, sync_directory, write_all

INLINE_BYTES = 8192
"""Longest string that stays in the journal: most results do, hardly any file or image does."""

_PREFIX = b'"blob-sha256:'
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_REFERENCE = re.compile(rb'"blob-sha256:([0-9a-f]{64})"')


class Blobs:
    """The blobs of one job, below `directory`, which is made when the first one comes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def take_out(self, event: bytes) -> bytes:
        """The event with references for its long strings, whose content is on disk when this returns."""
        if len(event) <= INLINE_BYTES and _PREFIX not in event:
            return event
        return _STRING.sub(self._reference, event)

    def put_back(self, event: bytes) -> bytes:
        """The event as it was appended.

        Raises:
            JournalCorrupt: A blob is missing or is not what its name says.
        """
        return _REFERENCE.sub(self._content, event) if _PREFIX in event else event

    def sweep(self) -> None:
        """Nothing half-written is left of a process that was killed. Only the job's writer may ask for it."""
        for leftover in self._directory.glob("*/*.tmp"):
            leftover.unlink(missing_ok=True)

    def _reference(self, match: re.Match[bytes]) -> bytes:
        token = match[0]
        if len(token) - 2 <= INLINE_BYTES and not token.startswith(_PREFIX):
            return token
        return b'%s%s"' % (_PREFIX, self.store(token[1:-1]).encode())

    def _content(self, match: re.Match[bytes]) -> bytes:
        return b'"%s"' % self.load(match[1].decode())

    def load(self, name: str) -> bytes:
        """The content that `store` named.

        Raises:
            JournalCorrupt: It is missing, or is not what its name says.
        """
        path = self._path(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise JournalCorrupt(f"{str(path)!r} is missing: the journal refers to it.") from None
        if hashlib.sha256(data).hexdigest() != name:
            raise JournalCorrupt(f"{str(path)!r} was changed: its content is not what its name says.")
        return data

    def _path(self, name: str) -> Path:
        return self._directory / name[:2] / name

    def store(self, data: bytes) -> str:
        """The name of `data`, which is on disk when this returns."""
        name = hashlib.sha256(data).hexdigest()
        path = self._path(name)
        if path.exists():
            return name
        private_directory(self._directory)
        private_directory(path.parent)
        temporary = path.with_name(f"{secrets.token_hex(8)}.tmp")
        try:
            descriptor = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(path.parent)
        return name
