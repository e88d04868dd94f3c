"""What reached the model: the server's own evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from perstack.messages import JsonObject, JsonValue, object_of

WireName = Literal["openai-chat", "openai-responses", "anthropic-messages", "google-generate", "bedrock-converse"]
SYSTEM = {"anthropic-messages": "system", "bedrock-converse": "system", "google-generate": "systemInstruction"}
"""Where each vendor puts the system prompt; the others have messages for it."""
MESSAGES = {"openai-responses": "input", "google-generate": "contents"}
"""Where each vendor puts the conversation, if not in ``messages``."""
MODEL_ROLES = ("assistant", "model")


@dataclass(kw_only=True, slots=True, eq=False)
class ModelRequest:
    """One request. Times are those of `time.monotonic`.

    Attributes:
        index: 0 for the server's first request.
        target: The path with its query.
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
    target: str
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
        return _objects(self.body.get(MESSAGES.get(self.wire, "messages")))

    @property
    def system(self) -> str:
        """The system prompt's text."""
        if self.wire in SYSTEM:
            return text_in(self.body.get(SYSTEM[self.wire]))
        return "\n".join(text_in(m.get("content")) for m in self.messages if m.get("role") in ("system", "developer"))

    @property
    def said(self) -> str:
        """The last message's text, tool results included."""
        return text_in(self.messages[-1]) if self.messages else ""

    @property
    def tool_names(self) -> tuple[str, ...]:
        """The tools that the model was told of."""
        config = object_of(self.body.get("toolConfig"))
        tools = _objects(self.body.get("tools") or config.get("tools"))
        declared = [one for tool in tools for one in _objects(tool.get("functionDeclarations")) or [tool]]
        inner = (object_of(tool.get("function")) or object_of(tool.get("toolSpec")) or tool for tool in declared)
        return tuple(str(tool["name"]) for tool in inner if "name" in tool)

    @property
    def tool_results(self) -> tuple[str, ...]:
        """Texts of the tool results after the model's last message, in order."""
        results: list[str] = []
        for message in reversed(self.messages):
            if message.get("role") in MODEL_ROLES or message.get("type") == "function_call":
                break
            results.extend(reversed([text_in(result) for result in _results(message)]))
        return tuple(reversed(results))


def text_in(content: JsonValue) -> str:
    """The text in a vendor's message, block or result: a string, or what holds further ones."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, map(text_in, content)))
    if not isinstance(content, dict):
        return ""
    for key in ("text", "content", "parts", "output", "error", "toolResult", "functionResponse", "response", "result"):
        if text := text_in(content.get(key)):
            return text
    return ""


def _results(message: JsonObject) -> list[JsonObject]:
    """The tool results in a message of any vendor."""
    if message.get("role") == "tool" or message.get("type") == "function_call_output":
        return [message]
    blocks = _objects(message.get("content")) + _objects(message.get("parts"))
    kinds = ("toolResult", "functionResponse")
    return [b for b in blocks if b.get("type") == "tool_result" or any(kind in b for kind in kinds)]


def _objects(value: JsonValue) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
