"""What reached the model: the server's own evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from perstack.messages import JsonObject, JsonValue

WireName = Literal["openai-chat", "anthropic-messages"]


@dataclass(kw_only=True, slots=True, eq=False)
class ModelRequest:
    """One request. Times are those of `time.monotonic`.

    Attributes:
        index: 0 for the server's first request.
        headers: Names are in lower case.
        raw: The request's body.
        in_flight: Requests that were being answered when this one arrived, itself included.
        connection: Numbers the connection that it came on.
        finished: When the answer had gone out whole, was cut, or the client had gone; None before.
        client_gone: The client closed the connection before the answer had gone out.
    """

    index: int
    wire: WireName
    path: str
    headers: Mapping[str, str]
    raw: bytes
    in_flight: int
    connection: int
    arrived: float
    finished: float | None = None
    client_gone: bool = False
    _body: JsonObject | None = None

    @property
    def body(self) -> JsonObject:
        """The request's body as JSON. Kept only while it is being answered: long jobs send long bodies."""
        if self._body is not None:
            return self._body
        decoded: JsonObject = msgspec.json.decode(self.raw)
        if self.finished is None:
            self._body = decoded
        return decoded

    def finish(self, when: float) -> None:
        """The answer has gone out, or will not any more."""
        self.finished = when
        self._body = None

    @property
    def messages(self) -> Sequence[JsonObject]:
        """The conversation in the vendor's format."""
        return _objects(self.body.get("messages"))

    @property
    def system(self) -> str:
        """The system prompt's text."""
        if self.wire == "anthropic-messages":
            return text_in(self.body.get("system"))
        return "\n".join(text_in(m.get("content")) for m in self.messages if m.get("role") in ("system", "developer"))

    @property
    def said(self) -> str:
        """The last message's text, tool results included."""
        return text_in(self.messages[-1].get("content")) if self.messages else ""

    @property
    def tool_names(self) -> tuple[str, ...]:
        """The tools that the model was told of."""
        tools = _objects(self.body.get("tools"))
        return tuple(str((_object(tool.get("function")) or tool).get("name")) for tool in tools)

    @property
    def tool_results(self) -> tuple[str, ...]:
        """Texts of the tool results after the model's last message, in order."""
        results: list[str] = []
        for message in reversed(self.messages):
            if message.get("role") == "assistant":
                break
            if message.get("role") == "tool":
                results.append(text_in(message.get("content")))
            else:
                blocks = [b for b in _objects(message.get("content")) if b.get("type") == "tool_result"]
                results.extend(text_in(block.get("content")) for block in reversed(blocks))
        return tuple(reversed(results))


def text_in(content: JsonValue) -> str:
    """The text in a vendor's message content: a string, or blocks with `text` or further `content`."""
    if isinstance(content, str):
        return content
    texts = (block.get("text") or text_in(block.get("content")) for block in _objects(content))
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def _objects(value: JsonValue) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}
