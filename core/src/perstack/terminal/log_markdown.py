"""A job as Markdown for people: what was asked, said and done, step by step.

All that a model, a skill or a person wrote stands in fenced blocks, where nothing of it is a link, an image or markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from perstack_proxy.sanitise import sanitise_line

from perstack.events import ContinueToNextStep, RunEvent, SkillStarting, StartGeneration
from perstack.journal.export import Export
from perstack.journal.query import Entry
from perstack.terminal.describe import counted, describe, duration
from perstack.terminal.log_view import dollars, local_time

BORING = (StartGeneration, ContinueToNextStep, SkillStarting)
"""Events that a heading, or another event, says already."""


def markdown(export: Export, found: Iterable[Entry]) -> Iterator[str]:
    """The document in parts."""
    yield from _head(export)
    place: tuple[str, int] | None = None
    for entry in found:
        event = entry.event
        if not export.holds(entry):
            continue
        if isinstance(event, RunEvent) and (event.run_id, event.step_number) != place:
            place = event.run_id, event.step_number
            title = f"Step {event.step_number}" if event.step_number else "Start"
            yield f"## {title}: {_code(event.expert_key)}\n\nRun {_code(event.run_id)}\n\n"
        if isinstance(event, BORING):
            continue
        yield f"**{entry.type}** at {local_time(event.timestamp):%H:%M:%S}\n\n"
        if text := "\n".join(line.text for line in describe(event, verbose=True)):
            yield f"{fenced(text)}\n\n"


def fenced(text: str) -> str:
    """`text` in a block that it cannot end itself."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _code(text: str) -> str:
    """A short untrusted text as code, on one line; backticks, which no name needs, are replaced."""
    return f"`{sanitise_line(text, limit=200).replace('`', chr(39)) or '-'}`"


def _head(export: Export) -> Iterator[str]:
    job = export.job
    rows = {
        "Status": job.status,
        "Expert": _code(job.expert),
        "Model": _code(job.model),
        "Steps": f"{job.steps:,}",
        "Tokens": f"{job.usage.total_tokens:,}",
        "Cost": dollars(job.usage.cost),
        "Started": f"{local_time(job.started_at):%Y-%m-%d %H:%M:%S %Z}" if job.started_at else "-",
        "Took": duration(job.took),
        "Journal": f"{counted(export.records, 'record')}, every link checked, head `{export.head}`",
    }
    yield f"# Job {_code(job.job_id)}\n\n| | |\n| --- | --- |\n"
    yield from (f"| {name} | {_cell(value)} |\n" for name, value in rows.items())
    yield "\n"
    for run in job.runs.values():
        if export.run in (None, run.run_id):
            called = f", called by run {_code(run.delegated_by)}" if run.delegated_by else ""
            spent = f"{counted(run.steps, 'step')}, {counted(run.usage.total_tokens, 'token')}"
            yield f"- Run {_code(run.run_id)} of {_code(run.expert)}{called}: {run.status}, {spent}\n"
    yield "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
