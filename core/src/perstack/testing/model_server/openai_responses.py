"""OpenAI Responses, as a server speaks it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from perstack.messages import JsonObject, JsonValue, Usage
from perstack.testing.model_server.requests import ModelRequest, WireName
from perstack.testing.model_server.script import Call, ErrorEvent, Turn
from perstack.testing.model_server.wire import SSE, arguments, call_id, pieces, sse

ENDS = {"length": "max_output_tokens", "refusal": "content_filter"}
"""Reasons for which a response is incomplete."""


class OpenAIResponses:
    """The format of ``POST /v1/responses``."""

    name: WireName = "openai-responses"
    content_type = SSE

    def serves(self, path: str) -> bool:
        """Whether requests to `path` are of this format."""
        return path.endswith("/responses")

    def streams(self, request: ModelRequest) -> bool:
        """Whether the request asks for a stream."""
        return bool(request.body.get("stream"))

    def events(self, turn: Turn, request: ModelRequest) -> Iterator[bytes]:
        """``response.created``, each item's start, deltas and end, and ``response.completed`` or another end."""
        number = itertools.count()
        for event in self._events(turn, request):
            yield sse({**event, "sequence_number": next(number)}, event=str(event["type"]))

    def _events(self, turn: Turn, request: ModelRequest) -> Iterator[JsonObject]:
        begun = self._response(request, status="in_progress")
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        items = list(_items(turn, request))
        for index, item in enumerate(items):
            place: JsonObject = {"output_index": index, "item_id": item["id"]}
            yield {"type": "response.output_item.added", "output_index": index, "item": _empty(item)}
            yield from _pieces(item, place, turn.piece)
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        whole = self.whole(turn, request)
        yield {"type": f"response.{whole['status']}", "response": whole}

    def whole(self, turn: Turn, request: ModelRequest) -> JsonObject:
        """A ``response`` object."""
        output: list[JsonValue] = [*_items(turn, request)]
        response = self._response(request, status="completed", output=output)
        response["usage"] = _usage(turn.usage)
        if turn.reason in ENDS:
            return {**response, "status": "incomplete", "incomplete_details": {"reason": ENDS[turn.reason]}}
        if turn.reason in {"stop", "tool-calls"}:
            return response
        return {**response, "status": "incomplete", "incomplete_details": {"reason": turn.reason}}

    def error(self, status: int, message: str) -> JsonObject:
        """``{"error": {...}}``."""
        return {"error": {"message": message, "type": "script_error", "param": None, "code": str(status)}}

    def error_event(self, fault: ErrorEvent) -> bytes:
        """An ``error`` event."""
        event: JsonObject = {"type": "error", "code": fault.kind, "message": fault.message, "param": None}
        return sse(event, event="error")

    def _response(self, request: ModelRequest, *, status: str, output: list[JsonValue] | None = None) -> JsonObject:
        return {
            "id": f"resp_{request.index}",
            "object": "response",
            "created_at": 0,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": request.body.get("model"),
            "output": output or [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": None,
        }


def _items(turn: Turn, request: ModelRequest) -> Iterator[JsonObject]:
    if turn.reasoning:
        summary: list[JsonValue] = [{"type": "summary_text", "text": turn.reasoning}]
        proof = turn.signature
        yield {"id": f"rs_{request.index}", "type": "reasoning", "summary": summary, "encrypted_content": proof}
    if turn.text:
        content: list[JsonValue] = [{"type": "output_text", "text": turn.text, "annotations": []}]
        done: JsonObject = {"status": "completed", "role": "assistant", "content": content}
        yield {"id": f"msg_{request.index}", "type": "message", **done}
    for index, call in enumerate(turn.calls):
        yield _call(call, request, index)


def _call(call: Call, request: ModelRequest, index: int) -> JsonObject:
    return {
        "id": f"fc_{request.index}_{index}",
        "type": "function_call",
        "status": "completed",
        "call_id": call_id(request, index, call.id),
        "name": call.name,
        "arguments": arguments(call.args),
    }


def _empty(item: JsonObject) -> JsonObject:
    """The item as it begins."""
    emptied: JsonObject = {"summary": [], "content": [], "arguments": "", "encrypted_content": ""}
    return {key: emptied.get(key, value) for key, value in item.items()}


def _pieces(item: JsonObject, place: JsonObject, size: int) -> Iterator[JsonObject]:
    if item["type"] == "function_call":
        text = str(item["arguments"])
        for piece in pieces(text, size):
            yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        yield {"type": "response.function_call_arguments.done", **place, "arguments": text, "name": item["name"]}
        return
    kind, key, within = ("output_text", "content", "content_index")
    if item["type"] == "reasoning":
        kind, key, within = ("reasoning_summary_text", "summary", "summary_index")
    parts = item[key]
    assert isinstance(parts, list)
    part = parts[0]
    assert isinstance(part, dict)
    text = str(part["text"])
    place = {**place, within: 0}
    outer = "response.content_part" if key == "content" else "response.reasoning_summary_part"
    yield {"type": f"{outer}.added", **place, "part": {**part, "text": ""}}
    for piece in pieces(text, size):
        yield {"type": f"response.{kind}.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": f"response.{kind}.done", **place, "text": text, "logprobs": []}
    yield {"type": f"{outer}.done", **place, "part": part}


def _usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
