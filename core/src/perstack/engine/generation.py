"""One answer of a model, collected from its stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from perstack.errors import ProviderError
from perstack.ids import new_id
from perstack.messages import ExpertMessage, FinishReason, TextPart, ThinkingPart, ToolCallPart, Usage
from perstack.protocols import Finish, ReasoningDelta, ReasoningEnd, StreamPart, TextDelta, ToolCallRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """What a model said. Every call has an id of its own within the answer."""

    text: str
    thinking: tuple[ThinkingPart, ...]
    calls: tuple[ToolCallRequest, ...]
    finish: FinishReason
    usage: Usage

    def message(self) -> ExpertMessage:
        """The answer as a message: reasoning, text, calls. A call whose arguments were no object has empty ones."""
        text = (TextPart(text=self.text),) if self.text else ()
        calls = tuple(
            ToolCallPart(tool_call_id=call.id, tool_name=call.name, args=call.args or {}, signature=call.signature)
            for call in self.calls
        )
        return ExpertMessage(id=new_id(), contents=(*self.thinking, *text, *calls))


async def collect(
    parts: AsyncIterator[StreamPart], *, on_text: Callable[[str], None], on_reasoning: Callable[[str], None]
) -> Generation:
    """The whole answer; the callbacks see its deltas as they arrive.

    Raises:
        ProviderError: The stream failed, ended without saying why, or held nothing at all.
    """
    text: list[str] = []
    reasoning: list[str] = []
    thinking: list[ThinkingPart] = []
    calls: list[ToolCallRequest] = []
    finish: Finish | None = None
    async for part in parts:
        match part:
            case TextDelta():
                text.append(part.text)
                on_text(part.text)
            case ReasoningDelta():
                reasoning.append(part.text)
                on_reasoning(part.text)
            case ReasoningEnd():
                thinking.append(ThinkingPart(thinking="".join(reasoning), signature=part.signature))
                reasoning.clear()
            case ToolCallRequest():
                calls.append(part)
            case Finish():
                finish = part
    if finish is None:
        raise ProviderError("The model's answer ended before it was complete.", retryable=True)
    if finish.reason == "error":
        raise ProviderError("The model's server broke the answer off with an error.", retryable=True)
    if not text and not calls and finish.reason in ("stop", "tool-calls"):
        raise ProviderError("The model answered with nothing: no text and no tool call.", retryable=True)
    if reasoning:
        thinking.append(ThinkingPart(thinking="".join(reasoning)))
    return Generation(
        text="".join(text),
        thinking=tuple(thinking),
        calls=_with_unique_ids(calls),
        finish=finish.reason,
        usage=finish.usage,
    )


def _with_unique_ids(calls: list[ToolCallRequest]) -> tuple[ToolCallRequest, ...]:
    """Results find their calls by id, so a missing or repeated id is replaced by one of ours."""
    seen: set[str] = set()
    unique: list[ToolCallRequest] = []
    for call in calls:
        call_id = call.id if call.id and call.id not in seen else f"call-{new_id()}"
        seen.add(call_id)
        unique.append(
            ToolCallRequest(
                id=call_id, name=call.name, args=call.args, raw_args=call.raw_args, signature=call.signature
            )
        )
    return tuple(unique)
