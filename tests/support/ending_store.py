"""A journal store, as a plugin's source, that ends the process that uses it at a record of one's choice."""

from __future__ import annotations

ENDING_STORE = """
import os, signal
from pathlib import Path
from perstack.journal.files import FileStore

class EndingWriter:
    def __init__(self, writer, name, before, number):
        self._writer, self._signal, self._before, self._left = writer, getattr(signal, name), before, number
        self.close, self.keep, self.kept, self.sync = writer.close, writer.keep, writer.kept, writer.sync

    @property
    def head(self):
        return self._writer.head

    def append(self, event):
        self._left -= 1
        if self._left == -1 and self._before:
            os.kill(os.getpid(), self._signal)
        self._writer.append(event)
        if self._left == -1 and not self._before:
            os.kill(os.getpid(), self._signal)

class EndingStore(FileStore):
    def __init__(self, place):
        name, moment, number, path = place.split(",", 3)
        super().__init__(Path(path))
        self._how = name, moment == "before", int(number)

    def create(self, job_id):
        return EndingWriter(super().create(job_id), *self._how)

    def reopen(self, job_id):
        return EndingWriter(super().reopen(job_id), *self._how)

@hookimpl
def perstack_register_storages():
    return [StorageSpec(scheme="ending", summary="Ends the process at a record.", factory=EndingStore)]
"""


def ending_place(signal_name: str, moment: str, number: int, state: object) -> str:
    """What ``--state-dir`` names: the signal, ``before`` or ``after`` the record is written, and its number from 0."""
    return f"ending://{signal_name},{moment},{number},{state}"
