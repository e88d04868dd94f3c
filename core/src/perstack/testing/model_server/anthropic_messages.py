"""Anthropic Messages, as a server speaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from perstack.messages import JsonObject, Usage
from perstack.testing.model_server.requests import ModelRequest, WireName
from perstack.testing.model_server.script import ErrorEvent, Turn
from perstack.testing.model_server.wire import SSE, arguments, call_id, pieces, sse

FINISH = {
    "stop": "end_turn",
    "tool-calls": "tool_use",
    "length": "max_tokens",
    "refusal": "refusal",
    "pause": "pause_turn",
}
ERRORS = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}


class AnthropicMessages:
    """The format of ``POST /v1/messages``."""

    name: WireName = "anthropic-messages"
    content_type = SSE

    def serves(self, path: str) -> bool:
        """Whether requests to `path` are of this format."""
        return path.endswith("/v1/messages")

    def streams(self, request: ModelRequest) -> bool:
        """Whether the request asks for a stream."""
        return bool(request.body.get("stream"))

    def events(self, turn: Turn, request: ModelRequest) -> Iterator[bytes]:
        """``message_start``, each block's start, deltas and stop, ``message_delta`` and ``message_stop``."""
        message: JsonObject = {**self._head(request), "content": [], "stop_reason": None, "stop_sequence": None}
        yield _event(
            {"type": "message_start", "message": {**message, "usage": {**_usage(turn.usage), "output_tokens": 1}}}
        )
        yield _event({"type": "ping"})
        for index, (block, deltas) in enumerate(_streamed_blocks(turn, request)):
            yield _event({"type": "content_block_start", "index": index, "content_block": block})
            for delta in deltas:
                yield _event({"type": "content_block_delta", "index": index, "delta": delta})
            yield _event({"type": "content_block_stop", "index": index})
        delta = {"stop_reason": FINISH.get(turn.reason, turn.reason), "stop_sequence": None}
        yield _event({"type": "message_delta", "delta": delta, "usage": _usage(turn.usage)})
        yield _event({"type": "message_stop"})

    def whole(self, turn: Turn, request: ModelRequest) -> JsonObject:
        """A ``message`` object."""
        blocks: list[JsonObject] = []
        if turn.reasoning:
            blocks.append({"type": "thinking", "thinking": turn.reasoning, "signature": turn.signature})
        if turn.text:
            blocks.append({"type": "text", "text": turn.text})
        for index, call in enumerate(turn.calls):
            args = call.args if isinstance(call.args, dict) else json.loads(call.args)
            identity = call_id(request, index, call.id)
            blocks.append({"type": "tool_use", "id": identity, "name": call.name, "input": args})
        stop = FINISH.get(turn.reason, turn.reason)
        ending: JsonObject = {"stop_reason": stop, "stop_sequence": None, "usage": _usage(turn.usage)}
        return {**self._head(request), "content": [*blocks], **ending}

    def error(self, status: int, message: str) -> JsonObject:
        """``{"type": "error", "error": {...}}``."""
        return {"type": "error", "error": {"type": ERRORS.get(status, "api_error"), "message": message}}

    def error_event(self, fault: ErrorEvent) -> bytes:
        """An ``error`` event."""
        return _event({"type": "error", "error": {"type": fault.kind, "message": fault.message}})

    def _head(self, request: ModelRequest) -> JsonObject:
        model = request.body.get("model")
        return {"id": f"msg_{request.index}", "type": "message", "role": "assistant", "model": model}


def _streamed_blocks(turn: Turn, request: ModelRequest) -> Iterator[tuple[JsonObject, Iterator[JsonObject]]]:
    if turn.reasoning:
        yield {"type": "thinking", "thinking": "", "signature": ""}, _thinking(turn)
    if turn.text:
        yield {"type": "text", "text": ""}, _deltas("text_delta", "text", turn.text, turn.piece)
    for index, call in enumerate(turn.calls):
        block: JsonObject = {"type": "tool_use", "id": call_id(request, index, call.id), "name": call.name, "input": {}}
        yield block, _deltas("input_json_delta", "partial_json", arguments(call.args), turn.piece)


def _thinking(turn: Turn) -> Iterator[JsonObject]:
    yield from _deltas("thinking_delta", "thinking", turn.reasoning, turn.piece)
    yield {"type": "signature_delta", "signature": turn.signature}


def _deltas(kind: str, key: str, text: str, size: int) -> Iterator[JsonObject]:
    return ({"type": kind, key: piece} for piece in pieces(text, size))


def _event(data: JsonObject) -> bytes:
    return sse(data, event=str(data["type"]))


def _usage(usage: Usage) -> JsonObject:
    # This vendor counts cached tokens beside the input tokens, not among them.
    return {
        "input_tokens": usage.input_tokens - usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_input_tokens,
    }
