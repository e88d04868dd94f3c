"""OpenAI Chat Completions, as a server speaks it."""

from __future__ import annotations

from collections.abc import Iterator

from perstack.messages import JsonObject, JsonValue, Usage
from perstack.testing.model_server.requests import ModelRequest, WireName
from perstack.testing.model_server.script import ErrorEvent, Turn
from perstack.testing.model_server.wire import SSE, arguments, call_id, pieces, sse

FINISH = {"stop": "stop", "tool-calls": "tool_calls", "length": "length", "refusal": "content_filter"}


class OpenAIChat:
    """The format of ``POST /v1/chat/completions``."""

    name: WireName = "openai-chat"
    content_type = SSE

    def serves(self, path: str) -> bool:
        """Whether requests to `path` are of this format."""
        return path.endswith("/chat/completions")

    def streams(self, request: ModelRequest) -> bool:
        """Whether the request asks for a stream."""
        return bool(request.body.get("stream"))

    def events(self, turn: Turn, request: ModelRequest) -> Iterator[bytes]:
        """Chunks with deltas, a usage chunk when it was asked for, and ``[DONE]``."""
        yield self._chunk(request, {"role": "assistant", "content": ""})
        for text in pieces(turn.reasoning, turn.piece):
            yield self._chunk(request, {"reasoning_content": text})
        for text in pieces(turn.text, turn.piece):
            yield self._chunk(request, {"content": text})
        for index, call in enumerate(turn.calls):
            head: JsonObject = {"name": call.name, "arguments": ""}
            started: JsonObject = {"id": call_id(request, index, call.id), "type": "function", "function": head}
            yield self._chunk(request, {"tool_calls": [{"index": index, **started}]})
            for text in pieces(arguments(call.args), turn.piece):
                yield self._chunk(request, {"tool_calls": [{"index": index, "function": {"arguments": text}}]})
        yield self._chunk(request, {}, finish=FINISH.get(turn.reason, turn.reason))
        options = request.body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            yield sse({**self._head(request, "chat.completion.chunk"), "choices": [], "usage": _usage(turn.usage)})
        yield b"data: [DONE]\n\n"

    def whole(self, turn: Turn, request: ModelRequest) -> JsonObject:
        """A ``chat.completion`` object."""
        message: JsonObject = {"role": "assistant", "content": turn.text or None}
        if turn.reasoning:
            message["reasoning_content"] = turn.reasoning
        if turn.calls:
            message["tool_calls"] = [
                {
                    "id": call_id(request, index, call.id),
                    "type": "function",
                    "function": {"name": call.name, "arguments": arguments(call.args)},
                }
                for index, call in enumerate(turn.calls)
            ]
        choice: JsonObject = {"index": 0, "message": message, "finish_reason": FINISH.get(turn.reason, turn.reason)}
        return {**self._head(request, "chat.completion"), "choices": [choice], "usage": _usage(turn.usage)}

    def error(self, status: int, message: str) -> JsonObject:
        """``{"error": {...}}``."""
        return {"error": {"message": message, "type": "script_error", "param": None, "code": str(status)}}

    def error_event(self, fault: ErrorEvent) -> bytes:
        """A data line with an error in the place of a chunk."""
        return sse({"error": {"message": fault.message, "type": fault.kind, "code": None}})

    def _chunk(self, request: ModelRequest, delta: JsonObject, *, finish: str | None = None) -> bytes:
        choice: JsonObject = {"index": 0, "delta": delta, "finish_reason": finish}
        return sse({**self._head(request, "chat.completion.chunk"), "choices": [choice]})

    def _head(self, request: ModelRequest, kind: str) -> JsonObject:
        model: JsonValue = request.body.get("model")
        return {"id": f"chatcmpl-{request.index}", "object": kind, "created": 0, "model": model}


def _usage(usage: Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
