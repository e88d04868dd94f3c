"""Rules of delegation: how deep, how wide, and what the parent is told."""

from __future__ import annotations

from collections.abc import Sequence

from perstack.engine.state import RunState
from perstack.messages import ToolCall, ToolResult, text_result

MAX_DEPTH = 8
"""Delegates below delegates. Deeper chains have always been loops."""

MAX_PARALLEL = 8
"""Delegates of one answer that run at once; the others wait. Each has sandboxes of its own."""


def delegate_key(call: ToolCall) -> str:
    """The key of the Expert that a delegating call goes to."""
    return call.skill_name.removeprefix("delegate/")


def refusal(call: ToolCall, *, key: str, ancestors: Sequence[str]) -> str | None:
    """Why a delegation must not start, in words for the model, or None.

    Args:
        call: The call that delegates; its arguments must hold a text ``query``.
        key: The delegate's key.
        ancestors: Keys from the coordinator down to the Expert that delegates.
    """
    query = call.args.get("query")
    if not isinstance(query, str) or not query.strip():
        return "A delegate needs a 'query': one text that holds all that it must know."
    if key in ancestors:
        return f"{key!r} is waiting for this very answer, so it cannot be asked. Do it yourself or ask another."
    if len(ancestors) > MAX_DEPTH:
        return f"Delegation is {MAX_DEPTH} levels deep already. Do it yourself."
    return None


def delegate_result(call: ToolCall, child: RunState) -> ToolResult:
    """What the parent learns: the child's answer, or that and why it failed. A failure is the parent's to handle."""
    if child.status == "completed":
        return text_result(call, child.answer or "The delegate finished without an answer.")
    reason = {
        "stoppedByExceededMaxSteps": "the job's steps are used up",
        "stoppedByBudget": "the job's budget is used up",
        "stoppedByInteractiveTool": "it needs a person, which a delegate cannot ask",
        "cancelled": "it was cancelled",
    }.get(child.status, "it failed")
    if child.error is not None:
        reason = f"{child.error.name}: {child.error.message}"
    partial = f"\nIts last words: {child.last_text}" if child.last_text else ""
    return text_result(call, f"The delegate {child.expert.key!r} stopped: {reason}.{partial}", is_error=True)


def error_result(call: ToolCall, message: str) -> ToolResult:
    """A failed call, in words for the model."""
    return text_result(call, message, is_error=True)
