"""The gate's record: one JSON line for each decision, in sequence, written before the decision takes effect.

A reader that sees a gap in `seq` has lost a line. When a line cannot be written, nothing may happen that it would have
recorded: the writer says so once, and the gate ends.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
AuditValue = str | int | float | bool | None | list[str]


class AuditLost(OSError):
    """A line could not be written, so what it records must not happen."""


class Audit:
    """Writes the lines; any thread may.

    Args:
        write: Takes one whole line, and returns only when it is handed over.
        on_lost: Called once, when the first line could not be written.
    """

    def __init__(self, write: Callable[[bytes], object], *, on_lost: Callable[[], None] = lambda: None) -> None:
        self._write = write
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._sequence = 0
        self._lost = False

    def line(self, event: str, **fields: AuditValue) -> int:
        """The line is handed over. Its number.

        Raises:
            AuditLost: It is not, and no later one will be.
        """
        with self._lock:
            if not self._lost:
                self._sequence += 1
                time = datetime.now(UTC).isoformat(timespec="milliseconds")
                record = {"seq": self._sequence, "time": time, "event": event, **fields}
                try:
                    self._write(_ENCODE(record).encode() + b"\n")
                    return self._sequence
                except (OSError, ValueError):
                    self._lost = True
                    self._on_lost()
        raise AuditLost("the audit cannot be written")
