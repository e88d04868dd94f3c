"""Whether a call goes ahead: the say of plugins and, where one of them wants to be asked, of the person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from perstack.errors import PerstackError, PolicyError

if TYPE_CHECKING:
    from perstack.messages import ToolCall
    from perstack.specs import Decision, MiddlewareSpec, ToolVerdict, ToolView


class Reviewers(Protocol):
    """The part of the plugin registry that calls go through."""

    @property
    def middleware(self) -> Iterable[MiddlewareSpec]:
        """Layers around calls."""
        ...

    def review(self, call: ToolCall, tool: ToolView) -> tuple[tuple[str, ToolVerdict], ...]:
        """Each opinion with its plugin's name; a plugin that failed denies."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The decision on one call; `by` names who made it and is empty when nobody had an opinion."""

    decision: Decision
    by: str = ""
    reason: str = ""


Approver: TypeAlias = Callable[["ToolCall", "ToolView", Verdict], Awaitable[bool]]
"""Asks the person whether a call may go ahead; raises a `PerstackError` where nobody can be asked."""


async def nobody(call: ToolCall, tool: ToolView, verdict: Verdict) -> bool:  # noqa: ARG001 - an Approver
    """The approver of a run without a person: what needs asking is denied.

    Raises:
        PolicyError: Always.
    """
    raise PolicyError("this run has no person.")


def reduced(verdicts: Iterable[tuple[str, ToolVerdict]]) -> Verdict:
    """The strictest of `verdicts`: deny beats ask beats allow, and the first of equals speaks for them."""
    strictness = {"allow": 0, "ask": 1, "deny": 2}
    strictest = Verdict(decision="allow")
    for plugin, verdict in verdicts:
        if not strictest.by or strictness[verdict.decision] > strictness[strictest.decision]:
            strictest = Verdict(decision=verdict.decision, by=plugin, reason=verdict.reason)
    return strictest


async def decide(call: ToolCall, tool: ToolView, *, reviewers: Reviewers, approver: Approver) -> Verdict:
    """Allow or deny, never ask: a question has been put to the person, and a question that failed is a no."""
    verdict = reduced(reviewers.review(call, tool))
    if verdict.decision != "ask":
        return verdict
    try:
        approved = await approver(call, tool, verdict)
    except PerstackError as error:
        reason = f"{verdict.reason} It has to be asked for, and nobody could be asked: {error}"
        return Verdict(decision="deny", by=verdict.by, reason=reason)
    if approved:
        return Verdict(decision="allow", by="person", reason=verdict.reason)
    return Verdict(decision="deny", by="person", reason=f"{verdict.by} asked for approval: {verdict.reason}")
