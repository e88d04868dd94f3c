"""What a model asked for, sorted: which calls go to skills, to delegates, to the person, and which says "done"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perstack.checkpoints import ErrorInfo
from perstack.engine.generation import Generation
from perstack.messages import ToolCall, ToolResult, text_of

if TYPE_CHECKING:
    from perstack.engine.context import Tools

BASE_SKILL = "@perstack/base"
COMPLETION_TOOL = "attemptCompletion"

CUT_OFF = "Not executed: your answer was cut at the output limit, so this call may be incomplete. Make smaller calls."
NO_OBJECT = "Not executed: the arguments are not a JSON object. You wrote: {raw}"
INTERRUPTED = (
    "Interrupted: perstack ended while this call was running. Whether it took effect is not known; look before you "
    "call it again."
)
CUT_ANSWER = ErrorInfo(name="OutputTruncated", message="The answer was cut at the model's output limit.")
REFUSED_ANSWER = ErrorInfo(name="ModelRefused", message="The model refused to answer.")
UNKNOWN_END = (
    "The model's server ended the answer with {word!r}, which perstack does not know; it may be incomplete. "
    "Read it above, and continue the job if it is not whole."
)
SHOWN_RAW = 500
"""Characters of unreadable arguments that the model is shown again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SortedCalls:
    """The open calls of a step by who serves them, each in call order."""

    skills: tuple[ToolCall, ...]
    delegates: tuple[ToolCall, ...]
    interactive: tuple[ToolCall, ...]
    completion: tuple[ToolCall, ...]


def tool_calls(generation: Generation, tools: Tools) -> tuple[ToolCall, ...]:
    """The generation's calls with the skill that serves each; an unknown tool has none."""
    return tuple(
        ToolCall(
            id=call.id,
            skill_name=tool.skill if (tool := tools.find(call.name)) else "",
            tool_name=call.name,
            args=call.args or {},
        )
        for call in generation.calls
    )


def refusals(generation: Generation) -> Mapping[str, str]:
    """Why calls of this generation must not be dispatched, by call id, in words for the model."""
    if generation.finish == "length":
        return {call.id: CUT_OFF for call in generation.calls}
    return {call.id: NO_OBJECT.format(raw=call.raw_args[:SHOWN_RAW]) for call in generation.calls if call.args is None}


def unfinished(generation: Generation) -> ErrorInfo | None:
    """Why an answer in words is no result, or None when it is one."""
    match generation.finish:
        case "length":
            return CUT_ANSWER
        case "refusal":
            return REFUSED_ANSWER
        case "other":
            return ErrorInfo(name="UnknownFinish", message=UNKNOWN_END.format(word=generation.word))
        case _:
            return None


def sort_calls(calls: tuple[ToolCall, ...], tools: Tools) -> SortedCalls:
    """`calls` by kind. The completion tool is the base skill's own, whatever other skills call theirs."""
    sorted_calls: dict[str, list[ToolCall]] = {"mcp": [], "delegate": [], "interactive": [], "completion": []}
    for call in calls:
        tool = tools.find(call.tool_name)
        done = tool is not None and tool.skill == BASE_SKILL and tool.original == COMPLETION_TOOL
        sorted_calls["completion" if done else tool.kind if tool else "mcp"].append(call)
    return SortedCalls(
        skills=tuple(sorted_calls["mcp"]),
        delegates=tuple(sorted_calls["delegate"]),
        interactive=tuple(sorted_calls["interactive"]),
        completion=tuple(sorted_calls["completion"]),
    )


def completes(result: ToolResult) -> bool:
    """Whether the completion tool agreed: it did not fail, and no todo is left."""
    if result.is_error:
        return False
    try:
        answer = json.loads(text_of(result.result))
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and not answer.get("remainingTodos")


def completion_text(call: ToolCall, *, last_text: str) -> str:
    """The answer that a completion call stands for: its own result, else what the Expert last wrote."""
    result = call.args.get("result")
    return result if isinstance(result, str) and result.strip() else last_text
