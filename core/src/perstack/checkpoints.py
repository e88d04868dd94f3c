"""Where a job can go on from, and what is known of it there. Events and the state of a run hold these."""

from __future__ import annotations

from typing import Literal

from perstack.messages import ToolCall, Usage, Wire

RunStatus = Literal[
    "init",
    "proceeding",
    "completed",
    "stoppedByInteractiveTool",
    "stoppedByDelegate",
    "stoppedByExceededMaxSteps",
    "stoppedByBudget",
    "stoppedByError",
    "cancelled",
]


class ExpertRef(Wire, frozen=True, kw_only=True):
    """An Expert, by key, name and version."""

    key: str
    name: str
    version: str


class DelegatedBy(Wire, frozen=True, kw_only=True):
    """The call that a delegate's run answers."""

    expert: ExpertRef
    tool_call_id: str
    tool_name: str
    checkpoint_id: str
    run_id: str


class DelegateTo(Wire, frozen=True, kw_only=True):
    """A delegation that a run waits for."""

    expert: ExpertRef
    tool_call_id: str
    tool_name: str
    query: str


class ErrorInfo(Wire, frozen=True, kw_only=True):
    """Why a run failed, without secrets."""

    name: str
    message: str
    is_retryable: bool = False
    status_code: int | None = None


class Checkpoint(Wire, frozen=True, kw_only=True):
    """A position in a job from which it can go on; its messages are the fold of the journal up to it."""

    id: str
    job_id: str
    run_id: str
    status: RunStatus
    step_number: int
    expert: ExpertRef
    usage: Usage
    message_count: int
    delegate_to: tuple[DelegateTo, ...] = ()
    delegated_by: DelegatedBy | None = None
    pending_tool_calls: tuple[ToolCall, ...] = ()
    context_window: int | None = None
    context_window_usage: float | None = None
    error: ErrorInfo | None = None


class Step(Wire, frozen=True, kw_only=True):
    """What one generation and its tool calls cost. Times are milliseconds since the epoch."""

    step_number: int
    usage: Usage
    tool_call_count: int
    started_at: int
    finished_at: int
