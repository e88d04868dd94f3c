"""Server-sent events as they arrive, by the grammar of the HTML standard.

Some formats repeat the whole answer in their last events. So a long event is held once as bytes and once as text, and
nowhere in between.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import httpx2

BLANK = re.compile(rb"\n(?:\r\n?|\n)|\r\r\n?")
"""The last byte of a line's end, and an empty line; lines end with CR, LF, or both."""
FIELD = re.compile(rb"[\r\n](?:data: ?([^\r\n]*)|event: ?([^\r\n]*))")
"""A line that is data, or names the event; no other field counts here."""


class ServerSentEvent(msgspec.Struct, frozen=True):
    """One event; `event` is its type and `data` its lines."""

    event: str
    data: str


async def server_sent_events(response: httpx2.Response, most: int) -> AsyncGenerator[ServerSentEvent, None]:
    """The events of a body, each of `most` bytes or fewer; one without data is none, and neither is a last one cut off.

    Raises:
        ValueError: An event is longer.
    """
    buffer = bytearray(b"\n")  # before each event stands the end of a line
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            begin, new = 0, max(0, len(buffer) - 2)  # the beginning of an empty line may have arrived before
            buffer += chunk
            with memoryview(buffer) as view:
                for blank in BLANK.finditer(view, new):
                    if blank.start() - begin > most:
                        break
                    event = _event(view, begin, blank.start())
                    begin = blank.end() - 1
                    if event is not None:
                        yield event
            if len(buffer) - begin > most:
                raise ValueError(f"an event is over the {most} byte limit")
            del buffer[:begin]


def _event(view: memoryview, begin: int, end: int) -> ServerSentEvent | None:
    kind, data = "message", []
    for field in FIELD.finditer(view, begin, end):
        start, stop = field.span(1)
        if start >= 0:
            data.append(str(view[start:stop], "utf-8", "replace"))
        else:
            kind = field[2].decode("utf-8", "replace") or "message"
    text = "\n".join(data)
    return ServerSentEvent(kind, text) if text else None
