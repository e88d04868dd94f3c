"""A journal read from its start, each link checked, and read on when it has grown."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Self

from perstack.errors import JournalCorrupt
from perstack.journal.chain import Line, decode_line, first_link, next_link


class Reader:
    """The whole records of one job in order. Iterating again yields those that were added since.

    Attributes:
        seq: Position of the last record that was read; 0 before the first.
        link: Its link; the job's first link before the first record.
        end: Offset of its end in the file. What lies behind it is a torn line or not yet read.
    """

    def __init__(self, file: BinaryIO, *, key: bytes, job_id: str) -> None:
        self._file = file
        self._key = key
        self._job_id = job_id
        self.seq = 0
        self.link = first_link(key, job_id)
        self.end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Line]:
        self._file.seek(self.end)
        while data := self._file.readline():
            line = decode_line(data)
            if line is None:
                if self._file.read(1):
                    raise self._corrupt("is not a record")
                return  # torn: a process or a machine died while it wrote
            if line.seq != self.seq + 1:
                raise self._corrupt(f"says it is record {line.seq}")
            if not hmac.compare_digest(next_link(self._key, self.link, line.seq, line.event), line.link):
                raise self._corrupt("does not fit to what stands before it")
            self.seq, self.link, self.end = line.seq, line.link, self.end + len(data)
            yield line

    def _corrupt(self, what: str) -> JournalCorrupt:
        return JournalCorrupt(
            f"The journal of job {self._job_id!r} was changed: record {self.seq + 1} {what}.",
            hint="Do not go on with this job. What stands before that record is intact.",
        )
