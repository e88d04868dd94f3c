"""Going on with a job: from its journal to the state it stood in, and to the person's part in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from perstack.engine.calls import BASE_SKILL
from perstack.engine.state import JobState, RunState
from perstack.errors import JobNotFound, UsageError
from perstack.events import JournalEvent, StartRun
from perstack.messages import ToolCall, ToolResult, text_result
from perstack.protocols import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumption:
    """Where a job goes on.

    Attributes:
        job: Totals and runs of the whole job.
        run: The coordinator's state to go on from.
        checkpoint_id: Its checkpoint; None when the job was killed after its newest one.
    """

    job: JobState
    run: RunState
    checkpoint_id: str | None


def replay(records: Iterable[Record], *, job_id: str, checkpoint_id: str | None) -> Resumption:
    """The state at `checkpoint_id`, or the newest one.

    Raises:
        JobNotFound: The job has no run, or no such checkpoint.
        UsageError: The checkpoint is a delegate's.
    """
    decoder = msgspec.json.Decoder(JournalEvent)
    events = [decoder.decode(record.event) for record in records]
    keep = {event.continues for event in events if isinstance(event, StartRun) and event.continues}
    job = JobState(keep=keep | ({checkpoint_id} if checkpoint_id else set()))
    for event in events:
        job.apply(event)
    if job.root is None:
        raise JobNotFound(f"Job {job_id!r} was never started.", hint="Start it anew with: perstack run")
    if checkpoint_id is None:
        return Resumption(job=job, run=job.runs[job.root], checkpoint_id=None)
    run = job.checkpoints.get(checkpoint_id)
    if run is None:
        raise JobNotFound(
            f"Job {job_id!r} has no checkpoint {checkpoint_id!r}.",
            hint=f"List them with: perstack log --job {job_id} --type continueToNextStep",
        )
    if run.delegated_by is not None:
        raise UsageError(
            f"Checkpoint {checkpoint_id!r} is one of the delegate {run.expert.key!r}.",
            hint="Resume from a checkpoint of the Expert that the job was started with.",
        )
    job.forget_children()
    return Resumption(job=job, run=run, checkpoint_id=checkpoint_id)


def pending_questions(run: RunState) -> tuple[ToolCall, ...]:
    """The interactive calls that a run waits for, however it ended, in call order."""
    if not run.asked:
        return ()
    return tuple(call for call in run.open_calls if call.skill_name != BASE_SKILL)


def parse_answer(text: str, run: RunState) -> ToolResult:
    """A person's answer, bound to exactly one pending call.

    Args:
        text: Plain text, which answers the first pending call, or a JSON object with ``toolCallId`` and ``text``,
            which answers the call that it names.
        run: The stopped run.

    Raises:
        UsageError: Nothing is pending, or not that call.
    """
    pending = pending_questions(run)
    if not pending:
        raise UsageError(
            "No interactive tool call of this job waits for an answer.", hint="Leave out -i to say something new."
        )
    call_id, answer = _addressed(text)
    call = pending[0] if call_id is None else next((each for each in pending if each.id == call_id), None)
    if call is None:
        names = ", ".join(each.id for each in pending)
        raise UsageError(f"No pending tool call has the id {call_id!r}.", hint=f"Pending: {names}")
    return text_result(call, answer)


def _addressed(text: str) -> tuple[str | None, str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None, text
    if isinstance(value, dict) and isinstance(value.get("toolCallId"), str) and isinstance(value.get("text"), str):
        return value["toolCallId"], value["text"]
    return None, text
