"""The events of a streamed response as parts of an answer."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from perstack.errors import ProviderError
from perstack.messages import FinishReason, JsonObject, JsonValue, Usage, VendorPart
from perstack.model_http import Event, ToolCalls, cut_off, decoded, finished, reported
from perstack.protocols import ReasoningDelta, ReasoningEnd, StreamPart, TextDelta

from perstack_provider_openai.counts import InputDetails, OutputDetails, usage_of
from perstack_provider_openai.responses_request import REASONING, VENDOR

ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
TEXTS = frozenset({"response.output_text.delta", "response.refusal.delta"})
THOUGHTS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})
CUT: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "refusal"}


class _Item(msgspec.Struct, frozen=True):
    type: str
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    encrypted_content: str | None = None


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int | None = None
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None


class _Error(msgspec.Struct, frozen=True):
    code: str | None = None
    type: str | None = None
    message: str | None = None


class _Details(msgspec.Struct, frozen=True):
    reason: str | None = None


class _Response(msgspec.Struct, frozen=True):
    usage: _Usage | None = None
    error: _Error | None = None
    incomplete_details: _Details | None = None


class _Told(msgspec.Struct, frozen=True):
    """Every kind of event in one; kinds that are not known are passed over."""

    type: str
    delta: JsonValue = None
    summary_index: int | None = None
    item: msgspec.Raw = msgspec.Raw()
    response: _Response | None = None
    error: _Error | None = None
    code: str | None = None
    message: str | None = None


_DECODER = msgspec.json.Decoder(_Told)
_ITEM = msgspec.json.Decoder(_Item)
_OWN: msgspec.json.Decoder[JsonObject] = msgspec.json.Decoder(dict)


class ResponsesAnswer:
    """One answer, from its first event to its end."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._calls = ToolCalls(provider)
        self._refused = False
        self._part = 0
        self._ended: str | None = None
        self._response = _Response()

    def is_end(self, event: Event) -> bool:
        """Whether the event is the response's own end."""
        return event.event in ENDS or self._ended is not None

    def feed(self, event: Event) -> Iterator[StreamPart]:
        """The parts of one event.

        Raises:
            ProviderError: It is an error, or no event of this format.
        """
        told = decoded(_DECODER, event.data, provider=self._provider)
        delta = told.delta if isinstance(told.delta, str) else ""
        if told.type in TEXTS:
            self._refused = self._refused or told.type == "response.refusal.delta"
            yield TextDelta(text=delta)
        elif told.type in THOUGHTS:
            yield ReasoningDelta(text=self._gap(told.summary_index) + delta)
        elif told.type == "response.output_item.done":
            yield from self._item(told.item)
        elif told.type == "error" or told.error is not None:
            raise self._failure(told.error or _Error(code=told.code, message=told.message))
        elif told.type in ENDS:
            self._ended = told.type
            self._response = told.response or self._response

    def end(self) -> Iterator[StreamPart]:
        """The finish.

        Raises:
            ProviderError: The model had not finished, or failed.
        """
        if self._ended is None:
            raise cut_off(self._provider)
        if self._ended == "response.failed":
            raise self._failure(self._response.error or _Error())
        details = self._response.incomplete_details if self._ended == "response.incomplete" else None
        word = (details and details.reason) or self._ended
        yield finished(self._reason(word), word, _usage(self._response.usage or _Usage()))

    def _gap(self, index: int | None) -> str:
        """An empty line between two parts of a summary."""
        before, self._part = self._part, index or 0
        return "\n\n" if self._part > before else ""

    def _item(self, raw: msgspec.Raw) -> Iterator[StreamPart]:
        item = decoded(_ITEM, raw, provider=self._provider)
        if item.type == "reasoning":
            self._part = 0
            proof = item.encrypted_content
            yield ReasoningEnd(signature=f"{REASONING}{item.id or ''}:{proof}" if proof else None)
        elif item.type == "function_call":
            yield self._calls.make(id=item.call_id, name=item.name or "", raw=item.arguments or "")
        elif item.type != "message":  # what a tool at the vendor did; without it the reasoning before it is refused
            yield VendorPart(vendor=VENDOR, block=decoded(_OWN, raw, provider=self._provider))

    def _reason(self, word: str) -> FinishReason:
        if self._ended == "response.incomplete":
            return CUT.get(word, "other")
        if self._refused:
            return "refusal"
        return "tool-calls" if len(self._calls) else "stop"

    def _failure(self, error: _Error) -> ProviderError:
        return reported(self._provider, error.message, kind=error.code or error.type)


def _usage(usage: _Usage) -> Usage:
    return usage_of(
        usage.input_tokens,
        usage.output_tokens,
        total=usage.total_tokens,
        of_input=usage.input_tokens_details,
        of_output=usage.output_tokens_details,
    )
