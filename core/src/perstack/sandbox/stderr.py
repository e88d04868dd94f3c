"""What a skill writes to its standard error, as lines that are safe to show and few enough to keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from perstack_proxy.limits import STDERR_LINE_BYTES
from perstack_proxy.sanitise import sanitise_line

if TYPE_CHECKING:
    from perstack.protocols import SandboxProcess

BURST_LINES = 200
"""Lines that pass at once: a start-up banner, a stack trace."""
LINES_PER_SECOND = 20
"""What passes for good. A person cannot read more, and a journal should not hold more."""
TOTAL_LINES = 20_000
"""Of one skill in one run."""


class Throttle:
    """Lets lines pass at a rate, and counts those that it held back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._credit = float(BURST_LINES)
        self._last = clock()
        self._left = TOTAL_LINES
        self._suppressed = 0

    def passes(self) -> bool:
        """Whether the next line may go on."""
        now = self._clock()
        self._credit = min(BURST_LINES, self._credit + (now - self._last) * LINES_PER_SECOND)
        self._last = now
        if self._credit < 1 or self._left < 1:
            self._suppressed += 1
            return False
        self._credit -= 1
        self._left -= 1
        return True

    def take_suppressed(self) -> int:
        """How many lines were held back since this was last asked."""
        count, self._suppressed = self._suppressed, 0
        return count


class ShortLines:
    """Bytes in, lines out; of a line longer than the limit the beginning stays."""

    def __init__(self, limit: int = STDERR_LINE_BYTES) -> None:
        self._limit = limit
        self._line = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` completes."""
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece)
            yield self.flush()
        self._add(rest)

    def flush(self) -> str:
        """The line so far."""
        text = self._line.decode("utf-8", "replace").rstrip("\r")
        dropped, self._dropped = self._dropped, 0
        self._line.clear()
        return f"{text}… [{dropped} more bytes]" if dropped else text

    def _add(self, piece: bytes) -> None:
        room = self._limit - len(self._line)
        self._line += piece[:room]
        self._dropped += max(0, len(piece) - room)


async def pump(process: SandboxProcess, tell: Callable[[str], None]) -> None:
    """Tell every line until standard error ends. A flood is cut, with a count of what was left out."""
    lines, throttle = ShortLines(), Throttle()

    def pass_on(line: str) -> None:
        if throttle.passes():
            suppressed = throttle.take_suppressed()
            if suppressed:
                tell(f"… {suppressed} lines suppressed")
            tell(sanitise_line(line))

    try:
        while chunk := await process.receive_stderr():
            for line in lines.feed(chunk):
                pass_on(line)
        rest = lines.flush()
        if rest:
            pass_on(rest)
    finally:
        suppressed = throttle.take_suppressed()
        if suppressed:
            tell(f"… {suppressed} lines suppressed")
