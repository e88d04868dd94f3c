"""The chunks of a streamed chat completion as parts of an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from perstack.messages import FinishReason, Usage
from perstack.model_http import MOST_CALLS, Event, ToolCalls, cut_off, decoded, finished, reported, too_many_calls
from perstack.protocols import ReasoningDelta, ReasoningEnd, StreamPart, TextDelta

from perstack_provider_openai.counts import InputDetails, OutputDetails, usage_of

FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "length": "length",
    "content_filter": "refusal",
    # Words of compatible servers, and theirs for failures.
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_call": "tool-calls",
    "tool_use": "tool-calls",
    "max_tokens": "length",
    "model_length": "length",
    "error": "error",
    "abort": "error",
    "insufficient_system_resource": "error",
}
DONE = "[DONE]"
STATUS = re.compile("[1-5][0-9][0-9]")


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, frozen=True):
    """`reasoning_content` is DeepSeek's, vLLM's and llama.cpp's field, `reasoning` is Ollama's and OpenRouter's."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_CallDelta] | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None


class _Error(msgspec.Struct, frozen=True):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: _Error | str | None = None


_DECODER = msgspec.json.Decoder(_Chunk)


@dataclass(slots=True)
class _Call:
    id: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class ChatAnswer:
    """One answer, from its first chunk to its end."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._reasoning = False
        self._refused = False
        self._finish: str | None = None
        self._usage = Usage()
        self._calls: list[_Call] = []
        self._at: dict[int | None, _Call] = {}

    def is_end(self, event: Event) -> bool:
        """Whether the event is the stream's own end."""
        return event.data == DONE

    def feed(self, event: Event) -> Iterator[StreamPart]:
        """The parts of one chunk.

        Raises:
            ProviderError: It is an error, or no chunk.
        """
        if event.data == DONE:
            return
        chunk = decoded(_DECODER, event.data, provider=self._provider)
        if chunk.error is not None:
            raise self._failure(chunk.error)
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        if choice.delta is not None:
            yield from self._delta(choice.delta)
        if choice.finish_reason:
            self._finish = choice.finish_reason

    def end(self) -> Iterator[StreamPart]:
        """The parts that stand only once everything arrived: the tool calls, and the finish.

        Raises:
            ProviderError: The model had not finished.
        """
        if self._finish is None:
            raise cut_off(self._provider)
        yield from self._end_reasoning()
        calls = ToolCalls(self._provider)
        for call in self._calls:
            yield calls.make(id=call.id, name=call.name, raw="".join(call.arguments))
        reason = FINISH.get(self._finish, "other")
        if self._refused:
            reason = "refusal"
        elif self._calls and reason == "stop":  # several compatible servers say so
            reason = "tool-calls"
        yield finished(reason, self._finish, self._usage)

    def _delta(self, delta: _Delta) -> Iterator[StreamPart]:
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning:
            self._reasoning = True
            yield ReasoningDelta(text=reasoning)
        if delta.content or delta.refusal or delta.tool_calls:
            yield from self._end_reasoning()
        if delta.content:
            yield TextDelta(text=delta.content)
        if delta.refusal:
            self._refused = True
            yield TextDelta(text=delta.refusal)
        for call in delta.tool_calls or ():
            self._call(call)

    def _end_reasoning(self) -> Iterator[StreamPart]:
        if self._reasoning:
            self._reasoning = False
            yield ReasoningEnd()

    def _call(self, delta: _CallDelta) -> None:
        # Some compatible servers leave the index out, or give every call the same: a new id is a new call.
        call = self._calls[-1] if delta.index is None and self._calls else self._at.get(delta.index)
        if call is None or (delta.id and call.id and delta.id != call.id):
            if len(self._calls) >= MOST_CALLS:
                raise too_many_calls(self._provider)
            call = _Call()
            self._calls.append(call)
            self._at[delta.index] = call
        call.id = call.id or delta.id
        if delta.function is not None:
            call.name = call.name or delta.function.name or ""
            call.arguments.append(delta.function.arguments or "")

    def _failure(self, error: _Error | str) -> Exception:
        if isinstance(error, str):
            return reported(self._provider, error)
        code = error.code
        status = int(code) if isinstance(code, int) or (isinstance(code, str) and STATUS.fullmatch(code)) else None
        kind = code if isinstance(code, str) and status is None else error.type
        return reported(self._provider, error.message, kind=kind, status=status)


def _usage(usage: _Usage) -> Usage:
    return usage_of(
        usage.prompt_tokens or 0,
        usage.completion_tokens or 0,
        total=usage.total_tokens,
        of_input=usage.prompt_tokens_details,
        of_output=usage.completion_tokens_details,
    )
