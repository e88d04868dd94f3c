"""What ``perstack log`` prints. Journals are read twice, for what matches and for what is shown, and never held."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perstack.errors import JournalCorrupt, JournalError
from perstack.journal.files import FileStore
from perstack.journal.query import Entry, Page, Query, entries
from perstack.journal.summary import EventTally, JobTally, tally
from perstack.terminal.log_view import LogView
from perstack.terminal.output import Output, ascii_json

if TYPE_CHECKING:
    from perstack.checkpoints import Checkpoint
    from perstack.messages import JsonValue, Message
    from perstack.protocols import JournalStore

FOLLOW_SECONDS = 0.2
"""How soon a new event is seen: at once, for a person."""


def list_jobs(store: JournalStore, args: argparse.Namespace, *, since: int | None) -> None:
    """The newest jobs, one a line; a damaged one does not hide the others."""
    output = Output(sys.stdout, os.environ)
    view = LogView(output)
    found: list[dict[str, JsonValue]] = []
    shown = 0
    for job in _tallies(store):
        if args.take and shown >= args.take + args.offset:
            break
        if since is not None and job.updated_at < since and job.status != "damaged":
            continue
        shown += 1
        if shown <= args.offset:
            continue
        if args.json:
            found.append(job.to_json())
            continue
        if shown == args.offset + 1:
            view.jobs_header()
        view.job(job)
    if args.json:
        output.line(json.dumps({"jobs": found}, indent=2 if args.pretty else None))
    elif shown <= args.offset:
        output.line("No data found")


def _tallies(store: JournalStore) -> Iterator[JobTally]:
    for job_id in store.jobs():
        try:
            job = tally(job_id, (entry.event for entry in entries(store.read(job_id))))
        except JournalError as error:
            yield JobTally(job_id=job_id, status="damaged" if isinstance(error, JournalCorrupt) else "unreadable")
        else:
            yield job.settled(active=_is_active(store, job_id))


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a question to one job came to; `shown` reads the journal as it is iterated."""

    job: JobTally
    totals: EventTally
    matched: int
    shown: Iterator[Entry]
    checkpoint: Checkpoint | None
    messages: tuple[Message, ...]
    is_newest: bool


def show(
    store: JournalStore, job_id: str, query: Query, args: argparse.Namespace, *, checkpoint: Checkpoint | None
) -> None:
    """The page of matches that was asked for, below what they belong to."""
    job, totals = JobTally(job_id=job_id), EventTally()

    def matches() -> Iterator[int]:
        for entry in entries(store.read(job_id)):
            job.add(entry.event)
            if query.matches(entry):
                totals.add(entry.event)
                yield entry.seq

    page = Page(take=args.take, offset=args.offset, context=args.context)
    matched = page.cut(matches())
    found = Found(
        job=job.settled(active=_is_active(store, job_id)),
        totals=totals,
        matched=len(matched),
        shown=(entry for entry in entries(store.read(job_id)) if page.shows(entry.seq, matched)),
        checkpoint=checkpoint,
        messages=_messages(store, job_id, checkpoint.id) if checkpoint and args.messages else (),
        is_newest=args.job is None and args.run is None and args.checkpoint is None,
    )
    if args.json:
        _write_json(_about(found, store, args), found.shown, pretty=args.pretty)
    else:
        _write_text(found, args)


def _write_text(found: Found, args: argparse.Namespace) -> None:
    output = Output(sys.stdout, os.environ)
    view = LogView(output, verbose=args.verbose)
    view.header(found.job, newest=found.is_newest)
    if found.checkpoint:
        view.checkpoint(found.checkpoint)
    for message in found.messages:
        view.message(message)
    for entry in found.shown:
        view.event(entry)
    if not found.totals.events:
        output.line("No data found")
    older = found.totals.events - found.matched - args.offset
    if older > 0:
        view.omitted(older)
    if args.summary:
        view.summary(found.totals)


def _about(found: Found, store: JournalStore, args: argparse.Namespace) -> dict[str, JsonValue]:
    about: dict[str, JsonValue] = {"job": found.job.to_json()}
    if found.checkpoint:
        about["checkpoint"] = _value(found.checkpoint)
    if found.messages:
        about["messages"] = [_value(message) for message in found.messages]
    return about | {
        "runs": [run.to_json() for run in found.job.runs.values()],
        "isLatestJob": found.is_newest,
        "storagePath": args.state_dir or str(getattr(store, "state_dir", "")),
        "totalEventsBeforeLimit": found.totals.events,
        "matchedAfterPagination": found.matched,
        "summary": found.totals.to_json(),
    }


def follow(store: FileStore, job_id: str, query: Query, args: argparse.Namespace) -> None:
    """The newest matches, and then each new one, until no process writes the job any more."""
    output = Output(sys.stdout, os.environ)
    view = LogView(output, verbose=args.verbose)

    def write(entry: Entry) -> None:
        if args.json:
            output.line(ascii_json(entry.data))
        else:
            view.event(entry)

    with store.open(job_id) as reader:
        earlier = deque(
            (entry for entry in entries(store.records(job_id, reader)) if query.matches(entry)),
            maxlen=args.take or None,
        )
        while earlier:
            write(earlier.popleft())
        active = True
        while active:
            # Asked before reading: what a process wrote until it ended is then all there.
            active = store.is_active(job_id)
            for entry in entries(store.records(job_id, reader)):
                if query.matches(entry):
                    write(entry)
            if active:
                time.sleep(FOLLOW_SECONDS)


def verify(store: FileStore, job_id: str, args: argparse.Namespace) -> None:
    """The job's journal holds, said in a sentence with its head.

    Raises:
        JournalCorrupt: It does not.
    """
    verified = store.verify(job_id, args.head)
    output = Output(sys.stdout, os.environ)
    if args.json:
        found = {"jobId": job_id, "records": verified.records, "head": verified.head, "headAt": verified.head_at}
        output.line(json.dumps(found, indent=2 if args.pretty else None))
        return
    output.line(f"Job {job_id}: all {verified.records} records hold.", "good")
    if verified.head_at is not None:
        output.line(f"The given head is record {verified.head_at}; nothing up to it was changed or removed.")
    output.line(f"Head: {verified.head}")


def _is_active(store: JournalStore, job_id: str) -> bool:
    return isinstance(store, FileStore) and store.is_active(job_id)


def _messages(store: JournalStore, job_id: str, checkpoint_id: str) -> tuple[Message, ...]:
    from perstack.engine.state import JobState

    state = JobState(keep=[checkpoint_id])
    for entry in entries(store.read(job_id)):
        state.apply(entry.event)
    return state.checkpoints[checkpoint_id].messages


def _value(struct: object) -> JsonValue:
    import msgspec

    value: JsonValue = msgspec.json.decode(msgspec.json.encode(struct))
    return value


def _write_json(about: dict[str, JsonValue], shown: Iterator[Entry], *, pretty: bool) -> None:
    """One document, written event by event, in ASCII."""
    import msgspec

    write = sys.stdout.write
    head = json.dumps(about, indent=2 if pretty else None)
    newline, indent = ("\n", "    ") if pretty else ("", "")
    write(f'{head[:-1].rstrip()},{newline}{indent[:2]}"events":{" " if pretty else ""}[')
    separator = ""
    for entry in shown:
        text = msgspec.json.format(entry.data, indent=2).decode() if pretty else entry.data.decode()
        lines = "\n".join(ascii_json(line.encode()) for line in text.split("\n"))
        write(f"{separator}{newline}{indent}" + lines.replace("\n", f"\n{indent}"))
        separator = ","
    write(f"{newline}{indent[:2]}]{newline}}}\n")
    sys.stdout.flush()
