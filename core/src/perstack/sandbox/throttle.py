"""A limit for what a skill can make others read and keep."""

from __future__ import annotations

import time
from collections.abc import Callable

BURST_LINES = 200
"""Lines that pass at once: a start-up banner, a stack trace."""
LINES_PER_SECOND = 20
"""What passes for good. A person cannot read more, and a journal should not hold more."""
TOTAL_LINES = 20_000
"""Of one source in one run."""


class Throttle:
    """Passes lines on to `tell` at a rate, and says how many it held back."""

    def __init__(self, tell: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._credit = float(BURST_LINES)
        self._last = clock()
        self._left = TOTAL_LINES
        self._suppressed = 0

    def pass_on(self, line: str) -> None:
        """Tell the line, or count it."""
        now = self._clock()
        self._credit = min(BURST_LINES, self._credit + (now - self._last) * LINES_PER_SECOND)
        self._last = now
        if self._credit < 1 or self._left < 1:
            self._suppressed += 1
            return
        self._credit -= 1
        self._left -= 1
        self.close()
        self._tell(line)

    def close(self) -> None:
        """Tell how many lines were held back since the last one."""
        if self._suppressed:
            self._tell(f"… {self._suppressed} lines suppressed")
            self._suppressed = 0
