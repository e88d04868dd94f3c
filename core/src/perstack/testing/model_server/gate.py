"""A point at which answers wait until a test lets them go: time in tests is made of events, not of sleeps."""

from __future__ import annotations

import threading
from collections.abc import Callable

WAIT_SECONDS = 10.0
"""A test that waits longer than this has failed."""


class Gate:
    """Holds every answer that comes to it until it is open.

    `opens_at` answers waiting at once open it by themselves, which shows that so many requests ran in parallel.
    """

    def __init__(self, *, opens_at: int | None = None) -> None:
        self._opens_at = opens_at
        self._changed = threading.Condition()
        self._open = False
        self._waiting = 0
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_open(self) -> bool:
        """Nothing waits here any more."""
        return self._open

    def open(self) -> None:
        """Let everything pass, now and later."""
        with self._changed:
            self._open = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def arrive(self, callback: Callable[[], None]) -> None:
        """Wait here: `callback` is called, in any thread, as soon as the gate is open."""
        with self._changed:
            self._waiting += 1
            self._callbacks.append(callback)
            self._changed.notify_all()
            full = self._opens_at is not None and self._waiting >= self._opens_at
        if full or self._open:
            self.open()

    def wait_reached(self, count: int = 1, *, timeout: float = WAIT_SECONDS) -> None:
        """Return once `count` answers have come here.

        Raises:
            TimeoutError: They did not within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting >= count, timeout):
                raise TimeoutError(f"{self._waiting} of {count} answers reached the gate within {timeout} s")
