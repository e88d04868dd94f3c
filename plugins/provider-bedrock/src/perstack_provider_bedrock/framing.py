"""AWS's event stream: messages with their lengths, headers and checksums, one after another in a body.

A message is its length and that of its headers (4 bytes each, big-endian), the CRC-32 of these 8 bytes, the headers,
the payload, and the CRC-32 of everything before.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perstack.model_http import Framing

if TYPE_CHECKING:
    import httpx2

PRELUDE = struct.Struct("!III")
CRC = struct.Struct("!I")
LENGTH = struct.Struct("!H")
TEXT = 7
"""The number of a header's type whose value is a text; Bedrock sends no other."""
EXCEPTION = "exception:"
"""Before the name of an event that says that the answer failed."""


@dataclass(frozen=True, slots=True)
class Message:
    """One event; `event` is its type and `data` its payload."""

    event: str
    data: str


def decoded(message: bytes) -> Message:
    """The event of one whole message.

    Raises:
        ValueError: It was damaged, or is of a kind that Bedrock does not send.
    """
    (checksum,) = CRC.unpack_from(message, len(message) - CRC.size)
    if binascii.crc32(message[: -CRC.size]) != checksum:
        raise ValueError("an event's checksum is wrong")
    end = PRELUDE.size + PRELUDE.unpack_from(message)[1]
    if end > len(message) - CRC.size:
        raise ValueError("an event's headers are longer than it is")
    headers = _headers(message[PRELUDE.size : end])
    exception = headers.get(":exception-type") or headers.get(":error-code")
    kind = EXCEPTION + exception if exception else headers.get(":event-type", "")
    return Message(kind, message[end : -CRC.size].decode("utf-8", "replace"))


def _headers(data: bytes) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            begin = at + 1
            name_end = begin + data[at]
            if data[name_end] != TEXT:
                raise ValueError("an event has a header that is no text")
            (size,) = LENGTH.unpack_from(data, name_end + 1)
            value = name_end + 1 + LENGTH.size
            at = value + size
            if at > len(data):
                raise IndexError
            headers[data[begin:name_end].decode()] = data[value:at].decode()
    except (IndexError, struct.error):
        raise ValueError("an event's headers are cut off") from None
    return headers


async def messages(response: httpx2.Response, most: int) -> AsyncIterator[Message]:
    """The events of a body, each of `most` bytes or fewer.

    Raises:
        ValueError: One is longer or damaged, or the body ends within one.
    """
    buffer = bytearray()
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            buffer += chunk
            begin = 0
            while len(buffer) - begin >= PRELUDE.size:
                size, _, checksum = PRELUDE.unpack_from(buffer, begin)
                if binascii.crc32(buffer[begin : begin + 8]) != checksum:
                    raise ValueError("the beginning of an event is damaged")
                if size > most:
                    raise ValueError(f"an event is over the {most} byte limit")
                if size < PRELUDE.size + CRC.size:
                    raise ValueError("an event is shorter than its frame")
                if len(buffer) - begin < size:
                    break
                yield decoded(bytes(buffer[begin : begin + size]))
                begin += size
            del buffer[:begin]


FRAMING = Framing(content_type="application/vnd.amazon.eventstream", events=messages)
