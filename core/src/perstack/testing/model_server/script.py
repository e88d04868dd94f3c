"""What the scripted model says, turn by turn, and how it misbehaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from perstack.messages import JsonObject, JsonValue, Usage
from perstack.testing.model_server.gate import Gate
from perstack.testing.model_server.requests import ModelRequest

DEFAULT_USAGE = Usage(input_tokens=12, output_tokens=5, total_tokens=17)


class Call(msgspec.Struct, frozen=True):
    """A tool call of the model. `args` as a string is sent as it is, broken JSON included; absent ids are made."""

    name: str
    args: JsonObject | str = {}
    id: str | None = None


class Refuse(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="refuse"):
    """An HTTP error with the vendor's error body."""

    status: int
    message: str = "refused by the script"
    headers: Mapping[str, str] = {}


class Cut(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="cut"):
    """The stream ends after so many events; `clean` ends the HTTP body in order, else the connection drops."""

    after: int
    clean: bool = False


class Stall(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="stall"):
    """The answer waits at `gate` after so many events; None waits before the response's head."""

    gate: Gate
    after: int | None = None


class ErrorEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """The vendor's error event comes after so many events, and nothing follows."""

    after: int
    message: str = "failed by the script"
    kind: str = "overloaded_error"


class Raw(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="raw"):
    """This body and no other: garbage, or the wrong content type."""

    body: bytes
    status: int = 200
    content_type: str = "text/event-stream"


Fault: TypeAlias = Refuse | Cut | Stall | ErrorEvent | Raw
Predicate: TypeAlias = Callable[[ModelRequest], bool]


class When(msgspec.Struct, frozen=True, kw_only=True):
    """A predicate as data: each given text must be in the system prompt, or in the last message."""

    system: str = ""
    said: str = ""

    def __call__(self, request: ModelRequest) -> bool:
        """Whether `request` is meant."""
        return self.system in request.system and self.said in request.said


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One answer.

    Attributes:
        text: What it says.
        reasoning: What it thinks before.
        signature: The vendor's proof of the reasoning.
        calls: Its tool calls; several are parallel calls of one answer.
        usage: What it says that the answer cost.
        finish: A finish reason of ours, or the vendor's own word; None follows from `calls`.
        fault: How the answer fails, or is held up.
        when: The requests that it answers; None answers any.
        times: How many requests it answers; None is without end.
        piece: Characters of one streamed piece.
    """

    text: str = ""
    reasoning: str = ""
    signature: str = "signature-of-the-script"
    calls: Sequence[Call] = ()
    usage: Usage = DEFAULT_USAGE
    finish: str | None = None
    fault: Fault | None = None
    when: Predicate | None = None
    times: int | None = 1
    piece: int = 16

    @property
    def reason(self) -> str:
        """The finish reason, given or followed."""
        return self.finish or ("tool-calls" if self.calls else "stop")


Script: TypeAlias = Sequence[Turn] | Callable[[ModelRequest], Turn]
"""Turns, of which the first that is not used up and fits answers; or a function that makes each answer."""


def load(data: bytes) -> tuple[Turn, ...]:
    """The turns of a JSON file ``{"turns": [{"text": ..., "calls": ..., "when": {"system": ...}}]}``.

    Raises:
        ValueError: It is none; says where.
    """
    return tuple(_turn(item) for item in msgspec.json.decode(data, type=_File).turns)


class _File(msgspec.Struct, frozen=True):
    turns: list[dict[str, JsonValue]]


def _turn(item: dict[str, JsonValue]) -> Turn:
    when = item.pop("when", None)
    turn = msgspec.convert(item, Turn)
    if when is None:
        return turn
    return msgspec.structs.replace(turn, when=msgspec.convert(when, When))
