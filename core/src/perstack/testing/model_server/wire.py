"""The vendors' wire formats from the server's side: what a turn looks like as a stream and as one body."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Protocol

from perstack.messages import JsonObject, JsonValue
from perstack.testing.model_server.requests import ModelRequest, WireName
from perstack.testing.model_server.script import ErrorEvent, Turn


class Wire(Protocol):
    """One vendor's format."""

    name: WireName
    content_type: str

    def serves(self, path: str) -> bool:
        """Whether requests to `path` are of this format."""
        ...

    def streams(self, request: ModelRequest) -> bool:
        """Whether the request asks for a stream."""
        ...

    def events(self, turn: Turn, request: ModelRequest) -> Iterator[bytes]:
        """The answer's events as bytes, terminator included."""
        ...

    def whole(self, turn: Turn, request: ModelRequest) -> JsonObject:
        """The answer as one body."""
        ...

    def error(self, status: int, message: str) -> JsonObject:
        """The body of an HTTP error."""
        ...

    def error_event(self, fault: ErrorEvent) -> bytes:
        """An error in the middle of a stream."""
        ...


SSE = "text/event-stream; charset=utf-8"


def sse(data: JsonValue, *, event: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def pieces(text: str, size: int) -> Iterator[str]:
    """`text` in parts of `size` characters."""
    return (text[start : start + size] for start in range(0, len(text), size))


def call_id(request: ModelRequest, position: int, given: str | None) -> str:
    """The call's id: the script's, or one that no other call of this server has."""
    return given if given is not None else f"call_{request.index}_{position}"


def arguments(args: JsonObject | str) -> str:
    """A call's arguments as the model writes them."""
    return args if isinstance(args, str) else json.dumps(args, ensure_ascii=False)
