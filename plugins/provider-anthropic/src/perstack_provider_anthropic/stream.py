"""The events of a streamed message as parts of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from perstack.messages import FinishReason, JsonObject, Usage, VendorPart
from perstack.model_http import Event, ToolCalls, arguments, cut_off, decoded, finished, malformed, reported
from perstack.protocols import ReasoningDelta, ReasoningEnd, StreamPart, TextDelta, TextEnd

from perstack_provider_anthropic.signatures import CITED, CONTAINER, REDACTED, THINKING, VENDOR

FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool-calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
    "pause_turn": "pause",
}
OURS = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
"""Blocks that a conversation has a form for; every other one is the vendor's, and goes back as it came."""


class _OutputDetails(msgspec.Struct, frozen=True):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    """Counts so far; a later one that is absent leaves the earlier."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Block(msgspec.Struct, frozen=True):
    type: str
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    input: JsonObject | None = None
    citations: list[JsonObject] | None = None


class _Container(msgspec.Struct, frozen=True):
    id: str
    expires_at: str = ""


class _Delta(msgspec.Struct, frozen=True):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: JsonObject | None = None
    stop_reason: str | None = None
    container: _Container | None = None


class _Error(msgspec.Struct, frozen=True):
    type: str | None = None
    message: str | None = None


class _Message(msgspec.Struct, frozen=True):
    usage: _Usage | None = None


class _Event(msgspec.Struct, frozen=True):
    """Every kind of event in one; kinds that are not known are passed over, as the vendor asks of clients."""

    type: str
    index: int | None = None
    message: _Message | None = None
    content_block: msgspec.Raw = msgspec.Raw()
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: _Error | None = None


_DECODER = msgspec.json.Decoder(_Event)
_BLOCK = msgspec.json.Decoder(_Block)
_OWN: msgspec.json.Decoder[JsonObject] = msgspec.json.Decoder(dict)


@dataclass(slots=True)
class _Open:
    """A block that has begun, and all of it as it came where it is the vendor's own."""

    block: _Block
    own: JsonObject | None = None
    signature: str = ""
    json: list[str] = field(default_factory=list)
    cited: list[JsonObject] = field(default_factory=list)


class MessagesAnswer:
    """One answer, from its first event to its end."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._open: dict[int | None, _Open] = {}
        self._calls = ToolCalls(provider)
        self._stop: str | None = None
        self._container: _Container | None = None
        self._counts: dict[str, int] = {}

    def is_end(self, event: Event) -> bool:
        """Whether the event is the message's own end."""
        return event.event == "message_stop"

    def feed(self, event: Event) -> Iterator[StreamPart]:
        """The parts of one event.

        Raises:
            ProviderError: It is an error, or no event of this format.
        """
        told = decoded(_DECODER, event.data, provider=self._provider)
        if told.error is not None:
            raise reported(self._provider, told.error.message, kind=told.error.type)
        if told.message is not None:
            self._count(told.message.usage)
        self._count(told.usage)
        if told.type == "content_block_start":
            yield from self._begin(told.index, told.content_block)
        elif told.type == "content_block_delta" and told.delta is not None:
            yield from self._go_on(told.index, told.delta)
        elif told.type == "content_block_stop":
            yield from self._finish(told.index)
        elif told.type == "message_delta" and told.delta is not None:
            self._stop = told.delta.stop_reason or self._stop
            self._container = told.delta.container or self._container

    def end(self) -> Iterator[StreamPart]:
        """The finish.

        Raises:
            ProviderError: The model had not finished.
        """
        if self._stop is None or self._open:
            raise cut_off(self._provider)
        if self._container is not None:
            machine: JsonObject = {"id": self._container.id, "expires": self._container.expires_at}
            yield VendorPart(vendor=VENDOR, block={"type": CONTAINER, **machine})
        yield finished(FINISH.get(self._stop, "other"), self._stop, self._usage())

    def _begin(self, index: int | None, raw: msgspec.Raw) -> Iterator[StreamPart]:
        block = decoded(_BLOCK, raw, provider=self._provider)
        own = decoded(_OWN, raw, provider=self._provider) if block.type not in OURS else None
        cited = [*(block.citations or ())] if own is None else []
        self._open[index] = _Open(block=block, own=own, signature=block.signature or "", cited=cited)
        if block.text:
            yield TextDelta(text=block.text)
        if block.thinking:
            yield ReasoningDelta(text=block.thinking)

    def _go_on(self, index: int | None, delta: _Delta) -> Iterator[StreamPart]:
        if delta.text:
            yield TextDelta(text=delta.text)
        if delta.thinking:
            yield ReasoningDelta(text=delta.thinking)
        opened = self._open.get(index)
        if opened is None:
            raise malformed(self._provider, "a piece of a block that has not begun")
        opened.signature += delta.signature or ""
        if delta.partial_json:
            opened.json.append(delta.partial_json)
        if delta.citation is not None:
            opened.cited.append(delta.citation)

    def _finish(self, index: int | None) -> Iterator[StreamPart]:
        opened = self._open.pop(index, None)
        if opened is None:
            raise malformed(self._provider, "the end of a block that has not begun")
        block = opened.block
        if opened.own is not None:
            said: JsonObject = {"input": arguments("".join(opened.json)) or {}} if opened.json else {}
            yield VendorPart(vendor=VENDOR, block={**opened.own, **said})
        elif block.type == "text":
            sources = msgspec.json.encode(opened.cited).decode()
            yield TextEnd(signature=CITED + sources if opened.cited else None)
        elif block.type == "tool_use":
            raw = "".join(opened.json) or msgspec.json.encode(block.input or {}).decode()
            yield self._calls.make(id=block.id, name=block.name or "", raw=raw)
        elif block.type == "thinking":
            yield ReasoningEnd(signature=THINKING + opened.signature if opened.signature else None)
        elif block.type == "redacted_thinking":
            yield ReasoningEnd(signature=REDACTED + (block.data or ""))

    def _count(self, usage: _Usage | None) -> None:
        if usage is None:
            return
        details = usage.output_tokens_details
        counts = {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "created": usage.cache_creation_input_tokens,
            "read": usage.cache_read_input_tokens,
            "thinking": details.thinking_tokens if details is not None else None,
        }
        self._counts.update({name: count for name, count in counts.items() if count is not None})

    def _usage(self) -> Usage:
        # The vendor counts what it read from or wrote to its cache beside the other input, not among it.
        count = self._counts.get
        given = count("input", 0) + count("created", 0) + count("read", 0)
        made = count("output", 0)
        return Usage(
            input_tokens=given,
            output_tokens=made,
            reasoning_tokens=count("thinking", 0),
            cached_input_tokens=count("read", 0),
            total_tokens=given + made,
            cache_write_tokens=count("created", 0),
        )
