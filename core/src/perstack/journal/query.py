"""Questions to journals: which events of a job match, and where a page of them lies."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import msgspec

from perstack.errors import JournalError
from perstack.events import (
    CallDelegate,
    CallInteractiveTool,
    CallTools,
    DockerBuildProgress,
    DockerContainerStatus,
    Event,
    FinishToolExecution,
    JournalEvent,
    ProxyAccess,
    ResumeToolCalls,
    Retry,
    ReviewToolCall,
    RunEvent,
    SkillConnected,
    SkillDisconnected,
    SkillStarting,
    SkillStderr,
    SkillViolation,
    StartRun,
    StopRunByDelegate,
    StopRunByError,
)
from perstack.journal.filters import Condition, Steps
from perstack.protocols import Record

TOOL_EVENTS = (CallTools, CallInteractiveTool, FinishToolExecution, ReviewToolCall, ResumeToolCalls)
JOURNALED_TYPES = tuple(event.__struct_config__.tag for event in get_args(JournalEvent))


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A journaled event with its position, its link of the chain, its JSON and its value."""

    seq: int
    link: str
    data: bytes
    event: Event

    @property
    def type(self) -> str:
        """The event's type, as its JSON has it."""
        return str(self.event.__struct_config__.tag)


def entries(records: Iterable[Record]) -> Iterator[Entry]:
    """The records' events.

    Raises:
        JournalError: One is of a type that this version does not know.
    """
    decoder: msgspec.json.Decoder[JournalEvent] = msgspec.json.Decoder(JournalEvent)
    for record in records:
        try:
            event = decoder.decode(record.event)
        except msgspec.DecodeError as error:
            raise JournalError(
                f"Record {record.seq} is no event that this version of perstack knows: {error}.",
                hint="Read the journal with the version that wrote it, or a newer one.",
            ) from error
        yield Entry(seq=record.seq, link=record.link, data=record.event, event=event)


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What an event has to be; everything that is given has to hold.

    Attributes:
        types: Any of these; empty means every type.
        since: Milliseconds since the epoch.
    """

    run: str | None = None
    steps: Steps | None = None
    types: frozenset[str] = frozenset()
    tool: str | None = None
    skill: str | None = None
    errors: bool = False
    tools: bool = False
    delegations: bool = False
    network: bool = False
    since: int | None = None
    conditions: tuple[Condition, ...] = ()

    def matches(self, entry: Entry) -> bool:
        """Whether the event is what is asked for."""
        event = entry.event
        return (
            (self.run is None or event.run_id == self.run)
            and (self.steps is None or (isinstance(event, RunEvent) and event.step_number in self.steps))
            and (not self.types or entry.type in self.types)
            and (self.since is None or event.timestamp >= self.since)
            and (self.tool is None or self.tool in tool_names(event))
            and (self.skill is None or self.skill in _skill_names(event))
            and (not self.errors or is_error(event))
            and (not self.tools or isinstance(event, TOOL_EVENTS))
            and (not self.delegations or is_delegation(event))
            and (not self.network or isinstance(event, ProxyAccess))
            and self._conditions_hold(entry)
        )

    def _conditions_hold(self, entry: Entry) -> bool:
        if not self.conditions:
            return True
        value = msgspec.json.decode(entry.data)
        return all(condition.holds(value) for condition in self.conditions)


def is_error(event: Event) -> bool:
    """Something failed, was denied or was blocked; what a text begins with says nothing about that."""
    match event:
        case StopRunByError() | Retry() | SkillViolation():
            return True
        case FinishToolExecution():
            return event.tool_result.is_error
        case ReviewToolCall():
            return event.decision == "deny"
        case ProxyAccess():
            return event.action == "blocked"
        case SkillDisconnected():
            return bool(event.reason)
        case DockerBuildProgress():
            return event.stage == "error"
        case DockerContainerStatus():
            return event.status in ("error", "unhealthy")
    return False


def is_delegation(event: Event) -> bool:
    """An Expert called another one, or waits for it, or is the one that was called."""
    if isinstance(event, StartRun):
        return event.initial_checkpoint.delegated_by is not None
    return isinstance(event, CallDelegate | StopRunByDelegate)


def tool_names(event: Event) -> frozenset[str]:
    """The tools that the event is about, by the names that the model used."""
    match event:
        case CallTools() | CallDelegate():
            return frozenset(call.tool_name for call in event.tool_calls)
        case ResumeToolCalls():
            return frozenset(call.tool_name for call in event.pending_tool_calls)
        case CallInteractiveTool():
            return frozenset({event.tool_call.tool_name})
        case FinishToolExecution():
            return frozenset({event.tool_result.tool_name})
        case ReviewToolCall():
            return frozenset({event.tool_name})
    return frozenset()


def _skill_names(event: Event) -> frozenset[str]:
    match event:
        case CallTools() | CallDelegate():
            return frozenset(call.skill_name for call in event.tool_calls)
        case ResumeToolCalls():
            return frozenset(call.skill_name for call in event.pending_tool_calls)
        case CallInteractiveTool():
            return frozenset({event.tool_call.skill_name})
        case FinishToolExecution():
            return frozenset({event.tool_result.skill_name})
        case (
            SkillStarting() | SkillConnected() | SkillStderr() | SkillViolation() | SkillDisconnected() | ProxyAccess()
        ):
            return frozenset({event.skill_name})
    return frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Which part of the matches is shown: the newest `take` (0 is all) after leaving out the `offset` newest.

    `context` adds that many neighbours on both sides of each.
    """

    take: int = 100
    offset: int = 0
    context: int = 0

    def cut(self, matches: Iterable[int]) -> tuple[int, ...]:
        """The positions of the matches on this page, oldest first; keeps no more than the page in memory."""
        newest = deque(matches, maxlen=self.take + self.offset if self.take else None)
        return tuple(newest)[: max(0, len(newest) - self.offset)]

    def shows(self, seq: int, matches: Sequence[int]) -> bool:
        """Whether the event at `seq` is one of `matches`, which are oldest first, or a neighbour of one."""
        first = bisect_left(matches, seq - self.context)
        return first < len(matches) and matches[first] <= seq + self.context
