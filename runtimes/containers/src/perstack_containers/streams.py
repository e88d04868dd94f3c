"""A container's three standard streams over one connection, as the engines frame them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from anyio.abc import SocketStream

HEADER_BYTES = 8
STDOUT, STDERR = 1, 2
HELD_BYTES = 4 * 1024 * 1024
"""Of one stream that nobody reads; then the container has to wait."""

GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)


class Channel:
    """One stream's bytes on their way to whoever reads it."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._changed = anyio.Event()
        self._closed = False

    async def put(self, data: bytes) -> None:
        """Keep `data` for the reader; waits while too much is held."""
        while len(self._data) > HELD_BYTES and not self._closed:
            await self._changed.wait()
        self._data += data
        self._notify()

    async def get(self, max_bytes: int = 65536) -> bytes:
        """The next bytes; empty at the end."""
        while not self._data and not self._closed:
            await self._changed.wait()
        chunk = bytes(self._data[:max_bytes])
        del self._data[:max_bytes]
        self._notify()
        return chunk

    def close(self) -> None:
        """Nothing more comes; what is held can still be read."""
        self._closed = True
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class Streams:
    """The standard streams of an attached container. `run` moves the bytes and ends when the container has ended."""

    def __init__(self, connection: SocketStream) -> None:
        self._connection = connection
        self.stdout = Channel()
        self.stderr = Channel()
        self.ended = anyio.Event()

    async def run(self) -> None:
        """Read frames until the connection ends."""
        channels = {STDOUT: self.stdout, STDERR: self.stderr}
        buffer = bytearray()
        try:
            while True:
                buffer += await self._connection.receive()
                while len(buffer) >= HEADER_BYTES:
                    channel, size = channels.get(buffer[0]), int.from_bytes(buffer[4:HEADER_BYTES], "big")
                    available = buffer[HEADER_BYTES : HEADER_BYTES + size]
                    if channel is not None and available:
                        await channel.put(bytes(available))
                    rest = size - len(available)
                    if rest:  # a long frame is passed on in pieces, so nothing grows with what the container writes
                        buffer[4:] = rest.to_bytes(4, "big")
                        break
                    del buffer[: HEADER_BYTES + size]
        except GONE:
            return
        finally:
            self.stdout.close()
            self.stderr.close()
            self.ended.set()

    async def send(self, data: bytes) -> None:
        """Write all of `data` to standard input."""
        await self._connection.send(data)

    async def close_input(self) -> None:
        """The container sees the end of its standard input."""
        try:
            await self._connection.send_eof()
        except GONE:
            return

    async def close(self) -> None:
        """Let go of the connection."""
        await self._connection.aclose()
