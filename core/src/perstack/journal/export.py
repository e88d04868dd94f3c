"""A job, or one of its runs, as one JSON document that needs nothing beside it.

Two passes over the journal, neither of which keeps it: the first checks every link of the chain and adds up totals, the
second writes what the first one saw, and nothing that was added since.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from perstack import __version__
from perstack.errors import UsageError
from perstack.journal.query import Entry
from perstack.journal.summary import JobTally
from perstack.messages import JsonValue

FORMAT = "perstack-export-1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """What a document holds.

    Attributes:
        job: Totals of the whole job.
        head: The newest link of the chain, which was checked up to there.
        records: How many the chain has.
        run: The only run whose events are in it; None is all of the job.
    """

    job: JobTally
    head: str
    records: int
    run: str | None = None

    def holds(self, entry: Entry) -> bool:
        """Whether `entry` belongs to the document."""
        return entry.seq <= self.records and (self.run is None or entry.event.run_id == self.run)

    def about(self) -> dict[str, JsonValue]:
        """All but the records."""
        runs = [tally for tally in self.job.runs.values() if self.run in (None, tally.run_id)]
        return {
            "format": FORMAT,
            "perstackVersion": __version__,
            "job": self.job.to_json(),
            "runs": [tally.to_json() for tally in runs],
            "chain": {"verified": True, "records": self.records, "head": self.head},
        }


def examine(found: Iterable[Entry], *, job_id: str, run: str | None) -> Export:
    """What a document of all of `found` has to say of itself; its job still has to be settled.

    Raises:
        JournalCorrupt: The chain does not hold.
        UsageError: The job has no such run.
    """
    job, seq, head = JobTally(job_id=job_id), 0, ""
    for entry in found:
        job.add(entry.event)
        seq, head = entry.seq, entry.link
    if run is not None and run not in job.runs:
        raise UsageError(f"Job {job_id!r} has no run {run!r}.", hint=f"Its runs: {', '.join(job.runs) or 'none'}")
    return Export(job=job, head=head, records=seq, run=run)


def json_lines(export: Export, found: Iterable[Entry]) -> Iterator[bytes]:
    """The document, a record a line: position, link, and the event with its long strings in their places."""
    yield json.dumps(export.about(), indent=1)[:-2].encode() + b',\n "records": ['
    separator = b"\n"
    for entry in found:
        if export.holds(entry):
            yield b'%s  {"seq":%d,"link":"%s","event":%s}' % (separator, entry.seq, entry.link.encode(), entry.data)
            separator = b",\n"
    yield b"\n ]\n}\n"
