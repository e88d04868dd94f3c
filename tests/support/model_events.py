"""Events and bodies of models' formats, as tests write and read them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec
from perstack.messages import JsonObject


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
