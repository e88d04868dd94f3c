"""The end of a journal that one process adds to."""

from __future__ import annotations

import contextlib
import os
import re

from perstack.errors import JournalCorrupt, JournalWriteError
from perstack.journal.blobs import Blobs
from perstack.journal.chain import Line, encode_line, next_link
from perstack.journal.disk import write_all

KEPT_NAME = re.compile("[0-9a-f]{64}")


class FileWriter:
    """The one writer of a job: it owns `descriptor`, which is open for appending and locked.

    A record is there whole or not at all: what a full disk cut short is taken back.
    """

    def __init__(self, descriptor: int, *, key: bytes, seq: int, link: str, size: int, blobs: Blobs) -> None:
        self._descriptor = descriptor
        self._key = key
        self._seq = seq
        self._link = link
        self._size = size
        self._blobs = blobs
        self._state = ""

    @property
    def head(self) -> str:
        """The newest record's link."""
        return self._link

    def append(self, event: bytes) -> None:
        """Add one event: a JSON object on one line, redacted.

        Raises:
            JournalWriteError: The disk is full or broken; the journal is as it was before.
        """
        if not event.startswith(b"{") or not event.endswith(b"}") or b"\n" in event:
            raise ValueError("An event is one JSON object on one line.")
        self._check()
        try:
            stored = self._blobs.take_out(event)
            line = Line(self._seq + 1, next_link(self._key, self._link, self._seq + 1, stored), stored)
            data = encode_line(line)
            self._write(data)
        except OSError as error:
            raise JournalWriteError(
                f"A record could not be written to the journal: {error.strerror or error}.",
                hint="Make room, then go on with --continue-job.",
            ) from error
        self._seq, self._link, self._size = line.seq, line.link, self._size + len(data)

    def keep(self, text: str) -> str:
        """The name under which `text` is kept beside the journal.

        Raises:
            JournalWriteError: It could not be written.
        """
        try:
            return self._blobs.store(text.encode())
        except OSError as error:
            raise JournalWriteError(f"A tool's output could not be kept: {error.strerror or error}.") from error

    def kept(self, name: str) -> str:
        """The text that `keep` named.

        Raises:
            JournalCorrupt: There is none of that name, or it was changed.
        """
        if not KEPT_NAME.fullmatch(name):
            raise JournalCorrupt(f"{name!r} names nothing that was kept.")
        return self._blobs.load(name).decode()

    def sync(self) -> None:
        """Everything appended is on disk when this returns.

        Raises:
            JournalWriteError: It may not be, and nothing more is accepted: a kernel reports a lost page only once.
        """
        self._check()
        try:
            getattr(os, "fdatasync", os.fsync)(self._descriptor)  # size and data; times are not worth the wait
        except OSError as error:
            self._state = "its disk failed"
            raise JournalWriteError(f"The journal may not be on disk: {error.strerror or error}.") from error

    def close(self) -> None:
        """Sync, and let others write. Calling it again is harmless."""
        if self._state == "closed":
            return
        try:
            if not self._state:
                self.sync()
        finally:
            self._state = "closed"
            os.close(self._descriptor)  # which also ends the lock

    def _write(self, data: bytes) -> None:
        try:
            write_all(self._descriptor, data)
        except OSError:
            self._state = "a record was cut short"
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
                self._state = ""
            raise

    def _check(self) -> None:
        if self._state:
            raise JournalWriteError(f"The journal takes no more records: {self._state}.")
