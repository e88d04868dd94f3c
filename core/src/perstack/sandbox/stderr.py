"""What a skill writes to its standard error, as lines that are safe to show and few enough to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from perstack_proxy.limits import STDERR_LINE_BYTES
from perstack_proxy.sanitise import sanitise_line

from perstack.sandbox.throttle import Throttle

if TYPE_CHECKING:
    from perstack.protocols import SandboxProcess


class ShortLines:
    """Bytes in, lines out; of a line longer than the limit the beginning stays."""

    def __init__(self, limit: int = STDERR_LINE_BYTES) -> None:
        self._limit = limit
        self._line = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` completes, made safe to show."""
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece)
            yield self.flush()
        self._add(rest)

    def flush(self) -> str:
        """The line so far, made safe to show."""
        text = self._line.decode("utf-8", "replace").rstrip("\r")
        dropped, self._dropped = self._dropped, 0
        self._line.clear()
        return sanitise_line(f"{text}… [{dropped} more bytes]" if dropped else text)

    def _add(self, piece: bytes) -> None:
        room = self._limit - len(self._line)
        self._line += piece[:room]
        self._dropped += max(0, len(piece) - room)


async def pump(process: SandboxProcess, tell: Callable[[str], None]) -> None:
    """Tell every line until standard error ends. A flood is cut, with a count of what was left out."""
    lines, throttle = ShortLines(), Throttle(tell)
    try:
        while chunk := await process.receive_stderr():
            for line in lines.feed(chunk):
                throttle.pass_on(line)
        rest = lines.flush()
        if rest:
            throttle.pass_on(rest)
    finally:
        throttle.close()
