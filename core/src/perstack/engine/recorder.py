"""The one road of an event: redacted, journaled, applied to the state, shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypedDict, TypeVar

import msgspec

from perstack.engine.state import JobState
from perstack.events import (
    AttemptCompletion,
    CompleteStreamingReasoning,
    CompleteStreamingRunResult,
    ContinueToNextStep,
    EndOfRun,
    Event,
    FinishToolCall,
    ResolveToolResults,
    StartStreamingReasoning,
    StartStreamingRunResult,
    StreamReasoning,
    StreamRunResult,
)
from perstack.ids import new_id
from perstack.protocols import JournalWriter

E = TypeVar("E", bound=Event)

Watcher = Callable[[Event, bytes], None]
"""Sees every event, redacted, as a value and as one line of JSON without its newline."""

SHOWN_ONLY = (
    StartStreamingReasoning,
    StreamReasoning,
    CompleteStreamingReasoning,
    StartStreamingRunResult,
    StreamRunResult,
    CompleteStreamingRunResult,
    AttemptCompletion,
    ResolveToolResults,
    FinishToolCall,
)
"""Events that restate, or are pieces of, what other events say; a journal that held them would hold it twice."""

DURABLE = (ContinueToNextStep, EndOfRun)
"""Checkpoints, which are on disk before they are shown. Every other record is with the kernel before anything follows
from it, so a killed process loses none; only a machine that loses power can lose those since the newest checkpoint."""


class RedactsStream(Protocol):
    """A redactor of one text that arrives in pieces: it holds back what may turn out to be part of a secret."""

    def feed(self, text: str) -> str:
        """What may be shown now."""
        ...

    def flush(self) -> str:
        """What was held back, now that the text is whole."""
        ...


class Redacts(Protocol):
    """What the recorder needs of a redactor."""

    def stream(self) -> RedactsStream:
        """A redactor for one text that arrives in pieces."""
        ...

    def json(self, data: bytes) -> bytes:
        """`data`, a JSON text, without secrets."""
        ...


class EventStamp(TypedDict):
    """What every event of a job carries."""

    id: str
    timestamp: int
    job_id: str
    run_id: str


class RunStamp(EventStamp):
    """What every event of a run carries."""

    expert_key: str
    step_number: int


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Recorder:
    """Records the events of one job, in the order in which they happen.

    Attributes:
        state: The job's state after the newest event.
        journal: Where they are kept.
        redactor: What takes secrets out of events; texts in pieces need a stream of it.
    """

    def __init__(
        self,
        *,
        job_id: str,
        journal: JournalWriter,
        redactor: Redacts,
        watchers: Sequence[Watcher],
        state: JobState,
    ) -> None:
        self.job_id = job_id
        self.state = state
        self.journal = journal
        self.redactor = redactor
        self._watchers = tuple(watchers)
        self._encoder = msgspec.json.Encoder()

    def stamp(self, run_id: str) -> EventStamp:
        """The base fields of a new event."""
        return {"id": new_id(), "timestamp": now_ms(), "job_id": self.job_id, "run_id": run_id}

    def record(self, event: E) -> E:
        """The event as everybody else sees it, from here on: what was secret in it is gone.

        Raises:
            JournalError: It could not be stored; the state is as before.
        """
        data = self._encoder.encode(event)
        clean = self.redactor.json(data)
        if clean != data:
            event = msgspec.json.decode(clean, type=type(event))
        if not isinstance(event, SHOWN_ONLY):
            self.journal.append(clean)
            if isinstance(event, DURABLE):
                self.journal.sync()
        self.state.apply(event)
        for watch in self._watchers:
            watch(event, clean)
        return event

    def notify(self, event: Event) -> None:
        """`record` for those who only report."""
        self.record(event)
