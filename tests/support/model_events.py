"""Events and bodies of models' formats, as tests write and read them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec
from perstack.engine.generation import Generation, collect
from perstack.messages import JsonObject
from perstack.protocols import StreamPart


@dataclass(frozen=True)
class Told:
    """An event of a stream."""

    data: str
    event: str = "message"


def told(value: object, event: str = "message") -> Told:
    """An event with `value` as JSON; a text is taken as it is."""
    return Told(value if isinstance(value, str) else json.dumps(value), event)


def as_sent(body: object) -> JsonObject:
    """A body as the server reads it."""
    return json.loads(msgspec.json.encode(body))


async def gathered(parts: Sequence[StreamPart]) -> Generation:
    """The answer that the engine makes of these parts."""

    async def stream() -> AsyncIterator[StreamPart]:
        for part in parts:
            yield part

    return await collect(stream(), on_text=lambda _: None, on_reasoning=lambda _: None)
