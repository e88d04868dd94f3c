"""Past jobs as text: a header, then each event under its step, type and local time."""

from __future__ import annotations

from datetime import datetime

import msgspec
from perstack_proxy.sanitise import sanitise_line

from perstack.checkpoints import Checkpoint
from perstack.events import RunEvent
from perstack.journal.query import Entry
from perstack.journal.summary import RUNNING, EventTally, JobTally
from perstack.messages import Message, Usage, text_of
from perstack.terminal.describe import counted, describe, duration
from perstack.terminal.output import Output, Tone

_TONES: dict[str, Tone] = {"completed": "good", RUNNING: "plain", "stoppedByInteractiveTool": "plain"}


def local_time(milliseconds: int) -> datetime:
    """A time stamp in the zone of whoever reads it."""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone()


def dollars(cost: float | None) -> str:
    """An amount of money; four digits, because a step often costs less than a cent."""
    return "-" if cost is None else f"${cost:,.4f}"


class LogView:
    """Writes the parts of a log to `output`."""

    def __init__(self, output: Output, *, verbose: bool = False) -> None:
        self._output = output
        self._verbose = verbose
        self._day = ""

    def jobs_header(self) -> None:
        """The columns of `job`."""
        self._output.line(_row("JOB", "STATUS", "EXPERT", "STEPS", "TOKENS", "COST", "STARTED", "TOOK"), "strong")

    def job(self, job: JobTally) -> None:
        """One line of the list of jobs."""
        started = f"{local_time(job.started_at):%Y-%m-%d %H:%M:%S}" if job.started_at else "-"
        numbers = (str(job.steps), f"{job.usage.total_tokens:,}", dollars(job.usage.cost))
        expert = sanitise_line(job.expert, limit=40) or "-"
        self._output.line(
            _row(job.job_id, job.status, expert, *numbers, started, duration(job.took)), _TONES.get(job.status, "bad")
        )

    def header(self, job: JobTally, *, newest: bool) -> None:
        """What the shown events belong to."""
        shown = " (newest job)" if newest else ""
        steps = f"{job.steps} of {counted(job.max_steps, 'step')}" if job.max_steps else counted(job.steps, "step")
        self._output.line(f"Job {job.job_id}{shown}: {job.status}", _TONES.get(job.status, "bad"))
        started = f"{local_time(job.started_at):%Y-%m-%d %H:%M:%S %Z}" if job.started_at else "-"
        took = duration(job.took)
        expert = sanitise_line(job.expert, limit=200) or "-"
        self._output.line(f"  Expert {expert}, model {sanitise_line(job.model, limit=200) or '-'}")
        spent = _spent(job.usage)
        self._output.line(f"  {steps}, {spent}, started {started}, took {took}")
        for run in job.runs.values() if len(job.runs) > 1 else ():
            called = ", a delegate" if run.delegated_by else ""
            who = f"{sanitise_line(run.expert, limit=200)}{called}"
            spent = f"{counted(run.steps, 'step')}, {_spent(run.usage)}, {duration(run.took)}"
            self._output.line(f"  Run {run.run_id}: {who}, {spent}, {run.status}")
        self._output.line()

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Where a job can be resumed."""
        self._output.line(f"Checkpoint {checkpoint.id}: {checkpoint.status}, step {checkpoint.step_number}", "strong")
        spent = counted(checkpoint.usage.total_tokens, "token")
        expert = sanitise_line(checkpoint.expert.key, limit=200)
        self._output.line(
            f"  Expert {expert}, run {checkpoint.run_id}, {counted(checkpoint.message_count, 'message')}, {spent}"
        )
        self._output.line()

    def message(self, message: Message) -> None:
        """One line of a conversation."""
        kind = str(message.__struct_config__.tag).removesuffix("Message")
        data = msgspec.json.encode(message.contents).decode()
        text = text_of(message.contents) or data
        self._output.line(f"  {kind}: {sanitise_line(text, limit=100)}")

    def event(self, entry: Entry) -> None:
        """One event, with the day before it when that is another one."""
        event = entry.event
        moment = local_time(event.timestamp)
        day = f"{moment:%Y-%m-%d}"
        if self._day and day != self._day:
            self._output.line(f"--- {day}", "dim")
        self._day = day
        place = f"Step {event.step_number}" if isinstance(event, RunEvent) else "Runtime"
        expert = f" {sanitise_line(event.expert_key, limit=80)}" if isinstance(event, RunEvent) else ""
        self._output.line(f"[{place}] {entry.type}  {moment:%H:%M:%S}{self._output.style(expert, 'dim')}")
        for line in describe(event, verbose=self._verbose):
            text = line.text.replace("\n", "\n    ")
            self._output.line(f"    {text}", line.tone)

    def summary(self, totals: EventTally) -> None:
        """Totals of all matches, whatever part of them is shown."""
        steps = "" if totals.first_step is None else f", steps {totals.first_step} to {totals.last_step}"
        counts = (
            counted(totals.events, "event"),
            counted(totals.errors, "error"),
            counted(totals.tool_calls, "tool call"),
            counted(totals.delegations, "delegation"),
        )
        self._output.line(f"{', '.join(counts)}{steps}", "strong")

    def omitted(self, count: int) -> None:
        """How many older matches are not shown."""
        self._output.line(f"({count:,} older matches are not shown; --take 0 shows all)", "dim")


def _spent(usage: Usage) -> str:
    return counted(usage.total_tokens, "token") + ("" if usage.cost is None else f", {dollars(usage.cost)}")


def _row(job: str, status: str, expert: str, steps: str, total: str, cost: str, started: str, took: str) -> str:
    return f"{job:<24}  {status:<16}  {expert:<20}  {steps:>5}  {total:>10}  {cost:>10}  {started:<19}  {took}"
