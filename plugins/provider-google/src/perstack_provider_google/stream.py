"""The chunks of a streamed generateContent answer as parts of an answer."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from perstack.messages import FinishReason, JsonObject, Usage, VendorPart
from perstack.model_http import Event, ToolCalls, cut_off, decoded, finished, reported
from perstack.protocols import ReasoningDelta, ReasoningEnd, StreamPart, TextDelta, TextEnd, ToolCallRequest

from perstack_provider_google.request import SIGNATURE, VENDOR

REFUSALS = frozenset(
    {"SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR"}
)
STOPS = frozenset({"STOP", "FUNCTION_CALL"})
"""The vendor's word whatever stands in the answer, and that of other servers for calls."""
FAILURES = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"})
"""The model wrote something that was no call, or called what it was not given: it may do better the next time."""


class _FunctionCall(msgspec.Struct, frozen=True):
    name: str = ""
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None
    executable_code: JsonObject | None = None
    code_execution_result: JsonObject | None = None
    tool_call: JsonObject | None = None
    tool_response: JsonObject | None = None


class _Content(msgspec.Struct, frozen=True):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, frozen=True, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, frozen=True, rename="camel"):
    block_reason: str | None = None


class _Usage(msgspec.Struct, frozen=True, rename="camel"):
    prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    cached_content_token_count: int = 0
    total_token_count: int | None = None


class _Error(msgspec.Struct, frozen=True):
    code: int | None = None
    message: str | None = None
    status: str | None = None


class _Chunk(msgspec.Struct, frozen=True, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    error: _Error | None = None


_DECODER = msgspec.json.Decoder(_Chunk)


class GenerateAnswer:
    """One answer, from its first chunk to its end. The format has no end of its own: the last chunk has the reason."""

    is_end = None

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._reasoning = False
        self._calls = ToolCalls(provider)
        self._finish: str | None = None
        self._blocked = False
        self._usage = _Usage()

    def feed(self, event: Event) -> Iterator[StreamPart]:
        """The parts of one chunk.

        Raises:
            ProviderError: It is an error, or no chunk.
        """
        chunk = decoded(_DECODER, event.data, provider=self._provider)
        if chunk.error is not None:
            error_of = chunk.error
            raise reported(self._provider, error_of.message, kind=error_of.status, status=error_of.code)
        self._usage = chunk.usage_metadata or self._usage
        self._blocked = self._blocked or bool(chunk.prompt_feedback and chunk.prompt_feedback.block_reason)
        for candidate in (chunk.candidates or [])[:1]:
            for part in (candidate.content and candidate.content.parts) or ():
                yield from self._part(part)
            self._finish = candidate.finish_reason or self._finish

    def end(self) -> Iterator[StreamPart]:
        """The finish.

        Raises:
            ProviderError: The model had not finished.
        """
        if self._finish is None and not self._blocked:
            raise cut_off(self._provider)
        yield from self._end_reasoning()
        yield finished(self._reason(), self._finish or "", _usage(self._usage))

    def _part(self, part: _Part) -> Iterator[StreamPart]:
        if part.text and part.thought:
            self._reasoning = True
            yield ReasoningDelta(text=part.text)
            return
        if part.text or part.function_call is not None:
            yield from self._end_reasoning()
        if part.text and part.thought_signature:
            yield TextEnd()  # what came before it is not what was signed
            yield TextDelta(text=part.text)
            yield TextEnd(signature=SIGNATURE + part.thought_signature)
        elif part.text:
            yield TextDelta(text=part.text)
        if part.function_call is not None:
            yield self._call(part.function_call, part.thought_signature)
        elif (own := _own(part)) is not None:
            yield from self._end_reasoning()
            yield VendorPart(vendor=VENDOR, block=own)

    def _call(self, call: _FunctionCall, signature: str | None) -> ToolCallRequest:
        own = SIGNATURE + signature if signature else None
        return self._calls.make(id=call.id, name=call.name, raw=bytes(call.args).decode(), signature=own)

    def _end_reasoning(self) -> Iterator[StreamPart]:
        if self._reasoning:
            self._reasoning = False
            yield ReasoningEnd()

    def _reason(self) -> FinishReason:
        if self._blocked or self._finish in REFUSALS:
            return "refusal"
        if self._finish in STOPS:
            return "tool-calls" if len(self._calls) else "stop"
        if self._finish in FAILURES:
            return "error"
        return "length" if self._finish == "MAX_TOKENS" else "other"


def _own(part: _Part) -> JsonObject | None:
    """The part as it came, where it is what the vendor's own tool did, or a signature that stands alone."""
    own = {
        "executableCode": part.executable_code,
        "codeExecutionResult": part.code_execution_result,
        "toolCall": part.tool_call,
        "toolResponse": part.tool_response,
    }
    block: JsonObject = {name: value for name, value in own.items() if value is not None}
    if part.text == "" and part.thought_signature:
        block["text"] = ""
    if not block:
        return None
    return {**block, "thoughtSignature": part.thought_signature} if part.thought_signature else block


def _usage(usage: _Usage) -> Usage:
    given = usage.prompt_token_count + usage.tool_use_prompt_token_count
    made = usage.candidates_token_count + usage.thoughts_token_count
    return Usage(
        input_tokens=given,
        output_tokens=made,
        reasoning_tokens=usage.thoughts_token_count,
        cached_input_tokens=usage.cached_content_token_count,
        total_tokens=usage.total_token_count or given + made,
    )
