"""What a job came to, gathered event by event without keeping any."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from perstack.events import (
    CallDelegate,
    CallTools,
    CompactConversation,
    EndOfRun,
    Event,
    InitializeRuntime,
    Retry,
    RunEvent,
    SampleModel,
    StartGeneration,
    StartRun,
)
from perstack.journal.query import is_error
from perstack.messages import NO_USAGE, JsonValue, Usage

RUNNING, INTERRUPTED = "running", "interrupted"
"""States that no checkpoint has: a process writes the job now, or was killed before it could write a checkpoint."""


@dataclass(kw_only=True, slots=True)
class RunTally:
    """One run of a job."""

    run_id: str
    expert: str
    status: str = ""
    steps: int = 0
    usage: Usage = NO_USAGE
    started_at: int = 0
    updated_at: int = 0
    delegated_by: str | None = None

    @property
    def took(self) -> int:
        """Milliseconds from its first event to its newest one; a clock that was set back makes them none."""
        return max(0, self.updated_at - self.started_at)

    def to_json(self) -> dict[str, JsonValue]:
        """As the log's JSON has it."""
        caller: dict[str, JsonValue] = {"delegatedBy": self.delegated_by} if self.delegated_by else {}
        return {
            "runId": self.run_id,
            "expertKey": self.expert,
            "status": self.status,
            "steps": self.steps,
            "totalTokens": self.usage.total_tokens,
            **_cost(self.usage),
            "startedAt": self.started_at,
            "updatedAt": self.updated_at,
            **caller,
        }


@dataclass(kw_only=True, slots=True)
class JobTally:
    """A job's totals so far.

    Attributes:
        status: The coordinator's newest one; empty while it has not stopped. See `settled`.
        started_at: The first event's time in milliseconds since the epoch; 0 before there is one.
        updated_at: The newest event's time.
    """

    job_id: str
    status: str = ""
    expert: str = ""
    model: str = ""
    max_steps: int | None = None
    steps: int = 0
    usage: Usage = NO_USAGE
    started_at: int = 0
    updated_at: int = 0
    runs: dict[str, RunTally] = field(default_factory=dict)

    @property
    def took(self) -> int:
        """Milliseconds from the first event to the newest one; a clock that was set back makes them none."""
        return max(0, self.updated_at - self.started_at)

    def add(self, event: Event) -> None:
        """Take in the job's next event."""
        self.started_at = self.started_at or event.timestamp
        self.updated_at = event.timestamp
        if isinstance(event, InitializeRuntime):
            self.model, self.max_steps = event.model, event.max_steps
        if isinstance(event, RunEvent):
            self._add_run_event(event)

    def settled(self, *, active: bool) -> JobTally:
        """This tally; what has no final status runs if the job is `active`, and was interrupted if not."""
        state = RUNNING if active else INTERRUPTED
        self.status = self.status or state
        for run in self.runs.values():
            run.status = run.status or state
        return self

    def to_json(self) -> dict[str, JsonValue]:
        """As the log's JSON has it."""
        usage = self.usage
        value: dict[str, JsonValue] = {
            "id": self.job_id,
            "status": self.status,
            "coordinatorExpertKey": self.expert,
            "model": self.model,
            "totalSteps": self.steps,
            "maxSteps": self.max_steps,
            "usage": {name: getattr(usage, field) for name, field in _USAGE_FIELDS},
            **_cost(usage),
            "startedAt": self.started_at,
            "updatedAt": self.updated_at,
        }
        if self.status not in (RUNNING, INTERRUPTED):
            value["finishedAt"] = self.updated_at
        return value

    def _add_run_event(self, event: RunEvent) -> None:
        run = self.runs.get(event.run_id)
        if run is None:
            run = RunTally(run_id=event.run_id, expert=event.expert_key, started_at=event.timestamp)
            self.runs[event.run_id] = run
        run.updated_at = event.timestamp
        match event:
            case StartRun(initial_checkpoint=checkpoint):
                run.status = ""
                run.delegated_by = checkpoint.delegated_by.run_id if checkpoint.delegated_by else None
                if run.delegated_by is None:
                    self.expert, self.status = event.expert_key, ""
            case StartGeneration():
                self.steps = max(self.steps, event.step_number)
                run.steps += 1
            case EndOfRun(checkpoint=checkpoint):
                run.status = checkpoint.status
                if run.delegated_by is None:
                    self.status = "" if checkpoint.status == "stoppedByDelegate" else checkpoint.status
        if isinstance(event, CallTools | CompactConversation | SampleModel | Retry | EndOfRun):
            self.usage += event.usage
            run.usage += event.usage


def _cost(usage: Usage) -> dict[str, JsonValue]:
    return {} if usage.cost is None else {"cost": usage.cost}


_USAGE_FIELDS = tuple(
    (name, field)
    for name, field in zip(Usage.__struct_encode_fields__, Usage.__struct_fields__, strict=True)
    if field != "cost"  # which stands beside them
)


@dataclass(kw_only=True, slots=True)
class EventTally:
    """Totals of the events that a question matched."""

    events: int = 0
    errors: int = 0
    tool_calls: int = 0
    delegations: int = 0
    first_step: int | None = None
    last_step: int | None = None

    def add(self, event: Event) -> None:
        """Take in the next match."""
        self.events += 1
        self.errors += is_error(event)
        if isinstance(event, CallTools):
            self.tool_calls += len(event.tool_calls)
        if isinstance(event, CallDelegate):
            self.delegations += len(event.tool_calls)
        if isinstance(event, RunEvent) and event.step_number:
            self.first_step = min(self.first_step or event.step_number, event.step_number)
            self.last_step = max(self.last_step or 0, event.step_number)

    def to_json(self) -> dict[str, JsonValue]:
        """As the log's JSON has it."""
        value: dict[str, JsonValue] = {
            "totalEvents": self.events,
            "errorCount": self.errors,
            "toolCallCount": self.tool_calls,
            "delegationCount": self.delegations,
        }
        if self.first_step is not None:
            value["stepRange"] = {"min": self.first_step, "max": self.last_step}
        return value


def tally(job_id: str, events: Iterable[Event]) -> JobTally:
    """The totals of a whole job."""
    total = JobTally(job_id=job_id)
    for event in events:
        total.add(event)
    return total
