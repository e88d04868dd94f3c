"""Server-sent events, however their bytes arrive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

import httpx2
import pytest
from perstack.model_http.sse import server_sent_events

STREAM = (
    b': hello\n\nevent: one\ndata: {"a":\ndata: 1}\nid: 7\n\nretry: 5\n\ndata:plain\n\n'
    b"event: empty\n\nevent:two\ndata: caf\xc3\xa9\ndatabase: no\n\ndata: cut off\n"
)
EVENTS = [("one", '{"a":\n1}'), ("message", "plain"), ("two", "café")]


def response(chunks: Iterable[bytes]) -> httpx2.Response:
    async def body() -> AsyncGenerator[bytes, None]:
        for chunk in chunks:
            yield chunk

    return httpx2.Response(200, content=body())


async def events(chunks: Iterable[bytes], most: int = 1000) -> list[tuple[str, str]]:
    return [(event.event, event.data) async for event in server_sent_events(response(chunks), most)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
async def test_events_are_the_same_whatever_ends_their_lines_and_wherever_they_are_cut(end: bytes, size: int) -> None:
    stream = STREAM.replace(b"\n", end)
    assert await events(stream[at : at + size] for at in range(0, len(stream), size)) == EVENTS


@pytest.mark.parametrize("size", [1, 64, 10_000])
async def test_an_event_may_be_as_long_as_the_limit_and_no_longer(size: int) -> None:
    async def read(length: int) -> list[tuple[str, str]]:
        stream = b"data: 1\n\ndata:" + b"x" * length + b"\n\n"
        return await events((stream[at : at + size] for at in range(0, len(stream), size)), most=500)

    assert await read(490) == [("message", "1"), ("message", "x" * 490)]
    with pytest.raises(ValueError, match="500 byte limit"):
        await read(510)


async def test_reading_can_end_in_the_middle_of_what_has_arrived() -> None:
    async with aclosing(server_sent_events(response([STREAM]), 1000)) as stream:
        event = await anext(stream)
    assert event.event == "one"
