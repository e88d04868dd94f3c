"""The events of a streamed Converse answer as parts of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from perstack.messages import FinishReason, Usage
from perstack.model_http import Event, ToolCalls, cut_off, decoded, finished, malformed, reported
from perstack.protocols import ReasoningDelta, ReasoningEnd, StreamPart, TextDelta

from perstack_provider_bedrock.framing import EXCEPTION
from perstack_provider_bedrock.request import REDACTED, THINKING

FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool-calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
EXCEPTIONS = {
    "throttlingException": 429,
    "serviceUnavailableException": 503,
    "internalServerException": 500,
    "modelStreamErrorException": 424,
    "validationException": 400,
}
"""The statuses that AWS gives these where they come in place of an answer."""


class _ToolUse(msgspec.Struct, frozen=True, rename="camel"):
    tool_use_id: str | None = None
    name: str | None = None
    input: str | None = None


class _Reasoning(msgspec.Struct, frozen=True, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Start(msgspec.Struct, frozen=True, rename="camel"):
    tool_use: _ToolUse | None = None


class _Delta(msgspec.Struct, frozen=True, rename="camel"):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None


class _Usage(msgspec.Struct, frozen=True, rename="camel"):
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int | None = None
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0


class _Told(msgspec.Struct, frozen=True, rename="camel"):
    """Every kind of event in one; kinds that are not known are passed over."""

    content_block_index: int | None = None
    start: _Start | None = None
    delta: _Delta | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    message: str | None = None


_DECODER = msgspec.json.Decoder(_Told)


@dataclass(slots=True)
class _Open:
    """A block that has begun."""

    tool: _ToolUse | None = None
    input: list[str] = field(default_factory=list)
    reasons: bool = False
    signature: str = ""
    redacted: str = ""


class ConverseAnswer:
    """One answer, from its first event to its end."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._open: dict[int | None, _Open] = {}
        self._calls = ToolCalls(provider)
        self._stop: str | None = None
        self._usage: _Usage | None = None

    def is_end(self, event: Event) -> bool:
        """Whether the event is the answer's own end: its counts come last."""
        return event.event == "metadata"

    def feed(self, event: Event) -> Iterator[StreamPart]:
        """The parts of one event.

        Raises:
            ProviderError: It is an error, or no event of this format.
        """
        told = decoded(_DECODER, event.data, provider=self._provider)
        if event.event.startswith(EXCEPTION):
            kind = event.event.removeprefix(EXCEPTION)
            raise reported(self._provider, told.message, kind=kind, status=EXCEPTIONS.get(kind, 500))
        if event.event == "contentBlockStart":
            self._begin(told)
        elif event.event == "contentBlockDelta" and told.delta is not None:
            yield from self._go_on(told.content_block_index, told.delta)
        elif event.event == "contentBlockStop":
            yield from self._finish(told.content_block_index)
        elif event.event == "messageStop":
            self._stop = told.stop_reason
        elif event.event == "metadata":
            self._usage = told.usage or _Usage()

    def end(self) -> Iterator[StreamPart]:
        """The finish.

        Raises:
            ProviderError: The model had not finished.
        """
        if self._stop is None or self._open or self._usage is None:
            raise cut_off(self._provider)
        yield finished(FINISH.get(self._stop, "other"), self._stop, _usage(self._usage))

    def _begin(self, told: _Told) -> None:
        self._open[told.content_block_index] = _Open(tool=told.start.tool_use if told.start else None)

    def _go_on(self, index: int | None, delta: _Delta) -> Iterator[StreamPart]:
        opened = self._open.setdefault(index, _Open())  # texts begin without a word
        if delta.text:
            yield TextDelta(text=delta.text)
        if delta.tool_use is not None:
            opened.input.append(delta.tool_use.input or "")
        reasoning = delta.reasoning_content
        if reasoning is not None:
            opened.reasons = True
            opened.signature += reasoning.signature or ""
            opened.redacted += reasoning.redacted_content or ""
            if reasoning.text:
                yield ReasoningDelta(text=reasoning.text)

    def _finish(self, index: int | None) -> Iterator[StreamPart]:
        opened = self._open.pop(index, None)
        if opened is None:
            raise malformed(self._provider, "the end of a block that has not begun")
        if opened.tool is not None:
            yield self._calls.make(id=opened.tool.tool_use_id, name=opened.tool.name or "", raw="".join(opened.input))
        elif opened.reasons and opened.redacted:
            yield ReasoningEnd(signature=REDACTED + opened.redacted)
        elif opened.reasons:
            yield ReasoningEnd(signature=THINKING + opened.signature if opened.signature else None)


def _usage(usage: _Usage) -> Usage:
    # The vendor counts what it read from or wrote to its cache beside the other input, not among it.
    given = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_write_input_tokens
    return Usage(
        input_tokens=given,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cache_read_input_tokens,
        total_tokens=given + usage.output_tokens,
        cache_write_tokens=usage.cache_write_input_tokens,
    )
