"""As much of HTTP/1.1 as a model's clients use: bodies with a length, answers whole or chunked, kept-alive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

HEAD_BYTES = 64 * 1024
BODY_BYTES = 256 * 1024 * 1024
PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Gone(Exception):
    """The client closed the connection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpRequest:
    """A request that arrived whole. Header names are in lower case; `target` is the path with its query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


class Connection:
    """One client's connection; it notices at once when the client goes, also while nothing is being read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self.gone = asyncio.Event()
        self._pump_task = asyncio.create_task(self._pump())

    async def read(self) -> HttpRequest:
        """The next request.

        Raises:
            Gone: There is none.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEAD_BYTES:
                raise Gone
            await self._more()
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        method, target, _ = first.split(" ", 2)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if length > BODY_BYTES:
            raise Gone
        while len(self._buffer) < length:
            await self._more()
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return HttpRequest(method=method, target=target, headers=headers, body=body)

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of an answer."""
        lines = [
            f"HTTP/1.1 {status} {PHRASES.get(status, 'Unknown')}",
            *(f"{name}: {value}" for name, value in headers.items()),
            "",
            "",
        ]
        await self._send("\r\n".join(lines).encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        """Send a piece of a chunked body; an empty one ends it."""
        await self._send(b"%x\r\n%b\r\n" % (len(data), data))

    async def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send an answer with its length."""
        await self.start(status, {**headers, "content-length": str(len(body))})
        await self._send(body)

    async def close(self) -> None:
        """End the connection at once."""
        self._pump_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump_task
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _send(self, data: bytes) -> None:
        if self.gone.is_set():
            raise Gone
        self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError as error:
            raise Gone from error

    async def _more(self) -> None:
        self._arrived.clear()
        if self.gone.is_set():
            raise Gone
        await self._arrived.wait()

    async def _pump(self) -> None:
        try:
            while data := await self._reader.read(65536):
                self._buffer += data
                self._arrived.set()
        except OSError:
            pass  # reset by the client: gone like any other
        self.gone.set()
        self._arrived.set()
