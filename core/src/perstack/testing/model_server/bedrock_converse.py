"""Bedrock's Converse, as a server speaks it: JSON events in AWS's binary framing."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator

import msgspec

from perstack.messages import JsonObject, JsonValue, Usage
from perstack.testing.model_server.requests import ModelRequest, WireName
from perstack.testing.model_server.script import ErrorEvent, Turn
from perstack.testing.model_server.wire import arguments, call_id, pieces

FINISH = {"stop": "end_turn", "tool-calls": "tool_use", "length": "max_tokens", "refusal": "content_filtered"}
KINDS = {"overloaded_error": "throttlingException", "invalid_request_error": "validationException"}
"""Exceptions for kinds of errors that a script names in another vendor's words."""
TEXT_HEADER = 7
"""AWS's number for a header whose value is a text."""


class BedrockConverse:
    """The format of ``POST /model/MODEL/converse-stream``."""

    name: WireName = "bedrock-converse"
    content_type = "application/vnd.amazon.eventstream"

    def serves(self, path: str) -> bool:
        """Whether requests to `path` are of this format."""
        return path.endswith(("/converse-stream", "/converse"))

    def streams(self, request: ModelRequest) -> bool:
        """Whether the request asks for a stream."""
        return request.path.endswith("/converse-stream")

    def events(self, turn: Turn, request: ModelRequest) -> Iterator[bytes]:
        """``messageStart``, each block's start, deltas and stop, ``messageStop`` and ``metadata``."""
        yield _event("messageStart", {"role": "assistant"})
        for index, (start, deltas) in enumerate(_blocks(turn, request)):
            if start is not None:
                yield _event("contentBlockStart", {"contentBlockIndex": index, "start": start})
            for delta in deltas:
                yield _event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})
            yield _event("contentBlockStop", {"contentBlockIndex": index})
        yield _event("messageStop", {"stopReason": FINISH.get(turn.reason, turn.reason)})
        yield _event("metadata", {"usage": _usage(turn.usage), "metrics": {"latencyMs": 1}})

    def whole(self, turn: Turn, request: ModelRequest) -> JsonObject:
        """A ``ConverseResponse``."""
        content: list[JsonValue] = []
        if turn.reasoning:
            content.append(
                {"reasoningContent": {"reasoningText": {"text": turn.reasoning, "signature": turn.signature}}}
            )
        if turn.text:
            content.append({"text": turn.text})
        for index, call in enumerate(turn.calls):
            args: JsonValue = call.args if isinstance(call.args, dict) else msgspec.json.decode(call.args or "{}")
            use: JsonObject = {"toolUseId": call_id(request, index, call.id), "name": call.name, "input": args}
            content.append({"toolUse": use})
        stop = FINISH.get(turn.reason, turn.reason)
        message: JsonObject = {"message": {"role": "assistant", "content": content}}
        return {"output": message, "stopReason": stop, "usage": _usage(turn.usage), "metrics": {"latencyMs": 1}}

    def error(self, status: int, message: str) -> JsonObject:
        """``{"message": ...}``; the kind is in a header."""
        return {"message": message, "__type": f"Status{status}Exception"}

    def error_event(self, fault: ErrorEvent) -> bytes:
        """An exception in the place of an event."""
        kind = KINDS.get(fault.kind, "internalServerException")
        headers = {":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"}
        return framed(headers, msgspec.json.encode({"message": f"{fault.message} ({fault.kind})"}))


def framed(headers: dict[str, str], payload: bytes) -> bytes:
    """One message in AWS's framing: lengths, their checksum, headers, payload, checksum of all."""
    head = b"".join(
        struct.pack("!B", len(name))
        + name.encode()
        + struct.pack("!BH", TEXT_HEADER, len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    message = prelude + struct.pack("!I", binascii.crc32(prelude)) + head + payload
    return message + struct.pack("!I", binascii.crc32(message))


def _event(kind: str, value: JsonObject) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return framed(headers, msgspec.json.encode(value))


def _blocks(turn: Turn, request: ModelRequest) -> Iterator[tuple[JsonObject | None, Iterator[JsonObject]]]:
    if turn.reasoning:
        yield None, _reasoning(turn)
    if turn.text:
        yield None, ({"text": piece} for piece in pieces(turn.text, turn.piece))
    for index, call in enumerate(turn.calls):
        start: JsonObject = {"toolUse": {"toolUseId": call_id(request, index, call.id), "name": call.name}}
        yield start, ({"toolUse": {"input": piece}} for piece in pieces(arguments(call.args), turn.piece))


def _reasoning(turn: Turn) -> Iterator[JsonObject]:
    for piece in pieces(turn.reasoning, turn.piece):
        yield {"reasoningContent": {"text": piece}}
    yield {"reasoningContent": {"signature": turn.signature}}


def _usage(usage: Usage) -> JsonObject:
    # This vendor counts cached tokens beside the input tokens, not among them.
    return {
        "inputTokens": usage.input_tokens - usage.cached_input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cached_input_tokens,
        "cacheWriteInputTokens": 0,
    }
