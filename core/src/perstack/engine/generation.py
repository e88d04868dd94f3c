"""One answer of a model, collected from its stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec

from perstack.errors import ProviderError
from perstack.ids import new_id
from perstack.messages import (
    ExpertMessage,
    FinishReason,
    SpokenPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    Usage,
    VendorPart,
    spoken_text,
)
from perstack.protocols import Finish, ReasoningDelta, ReasoningEnd, StreamPart, TextDelta, TextEnd, ToolCallRequest
from perstack.tools.names import spoken_name

MOST_TOKENS = 10**12
"""Of one answer, by its server's own account; more than that, or less than none, is no account."""
ID_CHARACTERS = 256
"""Longest id of a call that is kept; vendors' own have at most 64."""
Said: TypeAlias = TextPart | ThinkingPart | ToolCallRequest | VendorPart


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """What a model said, in its order. Every call has an id of its own within the answer."""

    said: tuple[Said, ...]
    finish: FinishReason
    usage: Usage
    word: str = ""

    @property
    def text(self) -> str:
        """Its texts, joined by newlines where something else stands between them."""
        return spoken_text(self.said)

    @property
    def calls(self) -> tuple[ToolCallRequest, ...]:
        """The tools that it calls."""
        return tuple(part for part in self.said if isinstance(part, ToolCallRequest))

    def message(self) -> ExpertMessage:
        """The answer as a message. A call whose arguments were no object has empty ones."""
        return ExpertMessage(id=new_id(), contents=tuple(map(_spoken, self.said)))


def _spoken(part: Said) -> SpokenPart:
    if not isinstance(part, ToolCallRequest):
        return part
    return ToolCallPart(tool_call_id=part.id, tool_name=part.name, args=part.args or {}, signature=part.signature)


async def collect(
    parts: AsyncIterator[StreamPart], *, on_text: Callable[[str], None], on_reasoning: Callable[[str], None]
) -> Generation:
    """The whole answer; the callbacks see its deltas as they arrive.

    Raises:
        ProviderError: The stream failed, ended without saying why, or held nothing at all.
    """
    answer = _Collected()
    finish: Finish | None = None
    async for part in parts:
        match part:
            case TextDelta():
                answer.text.append(part.text)
                on_text(part.text)
            case TextEnd():
                answer.end_text(part.signature)
            case ReasoningDelta():
                answer.end_text()
                answer.reasoning.append(part.text)
                on_reasoning(part.text)
            case ReasoningEnd():
                answer.end_reasoning(part.signature)
            case Finish():
                finish = part
            case _:
                answer.add(part)
    answer.end_text()
    if answer.reasoning:
        answer.end_reasoning(None)
    if finish is None:
        raise ProviderError("The model's answer ended before it was complete.", retryable=True)
    if finish.reason == "error":
        why = f" ({finish.word})" if finish.word else ""
        raise ProviderError(f"The model's server broke the answer off with an error{why}.", retryable=True)
    usage = _believable(finish.usage)
    generation = Generation(said=tuple(answer.said), finish=finish.reason, usage=usage, word=finish.word)
    silent = not generation.text and not generation.calls
    if silent and (finish.reason in ("stop", "tool-calls", "other") or (finish.reason == "pause" and not answer.said)):
        raise ProviderError("The model answered with nothing: no text and no tool call.", retryable=True)
    return generation


def _believable(usage: Usage) -> Usage:
    """The usage with counts that a budget can be held to: a server must not give tokens back."""
    counts = {name: count for name, count in msgspec.structs.asdict(usage).items() if name != "cost"}
    return Usage(**{name: max(0, min(count, MOST_TOKENS)) for name, count in counts.items()})


class _Collected:
    """An answer while it arrives: the whole parts, and the pieces of the one that is not yet."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self._ids: set[str] = set()

    def add(self, part: ToolCallRequest | VendorPart) -> None:
        """A part that arrived whole.

        Results find their calls by id, so one that is missing, repeated or unfit is replaced; so is an unfit name.
        """
        self.end_text()
        if isinstance(part, ToolCallRequest):
            if not 0 < len(part.id) <= ID_CHARACTERS or not part.id.isprintable() or part.id in self._ids:
                part = replace(part, id=f"call-{new_id()}")
            self._ids.add(part.id)
            part = replace(part, name=spoken_name(part.name))
        self.said.append(part)

    def end_text(self, signature: str | None = None) -> None:
        """The text so far is one part. Of what has no signature, neighbours are one."""
        if text := "".join(self.text):
            last = self.said[-1] if self.said else None
            if signature is None and isinstance(last, TextPart) and last.signature is None:
                self.said[-1] = TextPart(text=last.text + text)
            else:
                self.said.append(TextPart(text=text, signature=signature))
        self.text.clear()

    def end_reasoning(self, signature: str | None) -> None:
        """The reasoning so far is one part."""
        self.end_text()
        self.said.append(ThinkingPart(thinking="".join(self.reasoning), signature=signature))
        self.reasoning.clear()
