"""Gemini's generateContent, as a server speaks it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from perstack.messages import JsonObject, JsonValue, Usage
from perstack.testing.model_server.requests import ModelRequest, WireName
from perstack.testing.model_server.script import Call, ErrorEvent, Turn
from perstack.testing.model_server.wire import SSE, pieces, sse

FINISH = {"stop": "STOP", "tool-calls": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}
CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}
KINDS = {"overloaded_error": 503, "invalid_request_error": 400}
"""Codes for kinds of errors that a script names in another vendor's words."""


class GoogleGenerate:
    """The format of ``POST …/models/MODEL:streamGenerateContent?alt=sse``."""

    name: WireName = "google-generate"
    content_type = SSE

    def serves(self, path: str) -> bool:
        """Whether requests to `path` are of this format."""
        return path.endswith((":streamGenerateContent", ":generateContent"))

    def streams(self, request: ModelRequest) -> bool:
        """Whether the request asks for a stream."""
        return request.path.endswith(":streamGenerateContent")

    def events(self, turn: Turn, request: ModelRequest) -> Iterator[bytes]:
        """Chunks with parts; the last has the finish reason and the usage."""
        parts: list[JsonObject] = []
        parts += [{"text": text, "thought": True} for text in pieces(turn.reasoning, turn.piece)]
        parts += [{"text": text} for text in pieces(turn.text, turn.piece)]
        parts += self._calls(turn)
        for part in parts:
            yield sse(self._chunk(request, [part]))
        yield sse(self._whole(turn, request, []))

    def whole(self, turn: Turn, request: ModelRequest) -> JsonObject:
        """A ``GenerateContentResponse``."""
        parts: list[JsonValue] = [{"text": turn.reasoning, "thought": True}] if turn.reasoning else []
        parts += [{"text": turn.text}] if turn.text else []
        return self._whole(turn, request, [*parts, *self._calls(turn)])

    def error(self, status: int, message: str) -> JsonObject:
        """``{"error": {...}}``."""
        return {"error": {"code": status, "message": message, "status": CODES.get(status, "INTERNAL")}}

    def error_event(self, fault: ErrorEvent) -> bytes:
        """An error in the place of a chunk."""
        return sse({"error": {"code": KINDS.get(fault.kind, 500), "message": fault.message, "status": fault.kind}})

    def _calls(self, turn: Turn) -> Iterator[JsonObject]:
        for index, call in enumerate(turn.calls):
            part: JsonObject = {"functionCall": _function_call(call)}
            # The vendor signs the first call of a step.
            yield {**part, "thoughtSignature": turn.signature} if index == 0 and turn.reasoning else part

    def _whole(self, turn: Turn, request: ModelRequest, parts: list[JsonValue]) -> JsonObject:
        chunk = self._chunk(request, [*parts])
        chunk["candidates"] = [
            {
                "content": {"role": "model", "parts": parts},
                "finishReason": FINISH.get(turn.reason, turn.reason),
                "index": 0,
            }
        ]
        return {**chunk, "usageMetadata": _usage(turn.usage)}

    def _chunk(self, request: ModelRequest, parts: list[JsonValue]) -> JsonObject:
        candidate: JsonObject = {"content": {"role": "model", "parts": parts}, "index": 0}
        model = request.path.rpartition("/")[2].partition(":")[0]
        return {"candidates": [candidate], "modelVersion": model, "responseId": f"r{request.index}"}


def _function_call(call: Call) -> JsonObject:
    found: JsonObject = {"name": call.name, "args": _object(call.args)}
    return found if call.id is None else {**found, "id": call.id}


def _object(args: JsonObject | str) -> JsonValue:
    """This format carries objects, so broken arguments cannot be scripted."""
    if isinstance(args, dict):
        return args
    decoded: JsonValue = msgspec.json.decode(args or "{}")
    return decoded


def _usage(usage: Usage) -> JsonObject:
    # This vendor counts reasoning beside the answer, not within it.
    return {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
        "cachedContentTokenCount": usage.cached_input_tokens,
        "totalTokenCount": usage.total_tokens,
    }
