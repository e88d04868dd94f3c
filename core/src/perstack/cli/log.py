"""``perstack log``: what happened in past runs, and in the one that runs now."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.cli.parsing import whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perstack.checkpoints import Checkpoint
    from perstack.journal.files import FileStore
    from perstack.journal.query import Query
    from perstack.protocols import JournalStore

SUMMARY = "Show what happened in past runs"


_TAKE = 100
_FILTERS = ("step", "type", "tool", "skill", "errors", "tools", "delegations", "network", "filter", "since")
_OF_ONE_JOB = ("job", "run", "checkpoint", "messages", "verify", "context", "summary", "verbose")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``perstack log``."""
    add = parser.add_argument_group("what is shown").add_argument
    add("--jobs", action="store_true", help="list jobs instead of events")
    add("--job", metavar="ID", help="this job (default: the newest)")
    add("--run", metavar="ID", help="only this run; its job is found")
    add("--checkpoint", metavar="ID", help="a checkpoint, and the events of its run")
    add("--messages", action="store_true", help="with --checkpoint: the conversation up to it, a line for each message")
    add("--follow", "-f", action="store_true", help="go on showing events until the job ends")
    add("--verify", action="store_true", help="check that no record was changed, and print the head of the chain")
    add("--export", choices=("json", "markdown"), help="the whole job, or with --run that run, as one document")
    add("--head", metavar="LINK", help="with --verify: the job must contain the record with this link")
    add = parser.add_argument_group("filters, all of which have to match").add_argument
    add("--step", metavar="STEPS", help="5, '>5', '>=5', '<5', '<=5' or 1-10")
    add("--type", metavar="TYPE", action="append", default=[], help="this type of event; several mean any of them")
    add("--tool", metavar="NAME", help="events about this tool")
    add("--skill", metavar="NAME", help="events about this skill")
    add("--errors", action="store_true", help="what failed, was denied or was blocked")
    add("--tools", action="store_true", help="tool calls and their results")
    add("--delegations", action="store_true", help="calls of other Experts")
    add("--network", action="store_true", help="what skills reached, or were kept from reaching")
    add("--filter", metavar="EXPR", action="append", default=[], help="'.path op value', op one of == != > >= < <=")
    add("--since", metavar="TIME", help="90s, 10m, 2h, 3d, or a date and time")
    add = parser.add_argument_group("how much and how").add_argument
    add("--take", metavar="N", type=whole_number, default=_TAKE, help="the newest N matches; 0 is all (default: 100)")
    add("--offset", metavar="N", type=whole_number, default=0, help="leave out the N newest matches")
    add("--context", metavar="N", type=whole_number, default=0, help="N events before and after each match")
    add("--summary", action="store_true", help="totals of all matches at the end")
    add("--verbose", action="store_true", help="arguments and results whole")
    add("--json", action="store_true", help="one JSON document; with --follow one event a line")
    add("--pretty", action="store_true", help="with --json: indented")
    add("--state-dir", metavar="DIR", help="where journals are kept (default: the user's state directory)")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for; that there is nothing is an answer too."""
    from perstack.cli import log_output

    _check_combinations(args)
    query = _query(args)
    store = _store(args)
    if args.jobs:
        log_output.list_jobs(store, args, since=query.since)
        return 0
    job_id = _job(store, args)
    checkpoint = _find_checkpoint(store, job_id, args.checkpoint) if job_id and args.checkpoint else None
    if job_id is None or (args.checkpoint and checkpoint is None):
        return _nothing(args)
    if checkpoint:
        query = replace(query, run=checkpoint.run_id)
    if args.verify:
        log_output.verify(_files(store), job_id, args)
    elif args.export:
        from perstack.cli import log_export

        log_export.export(store, job_id, args)
    elif args.follow:
        log_output.follow(_files(store), job_id, query, args)
    else:
        log_output.show(store, job_id, query, args, checkpoint=checkpoint)
    return 0


def _store(args: argparse.Namespace) -> JournalStore:
    from perstack.journal.files import FileStore, default_state_dir

    if args.state_dir is None:
        return FileStore(default_state_dir(os.environ))
    scheme, separator, place = args.state_dir.partition("://")
    if not separator:
        return FileStore(Path(args.state_dir))
    from perstack.cli.plugin_loading import load_plugins

    args.registry = registry = load_plugins(args)
    return registry.storage(scheme).factory(place)


def _files(store: JournalStore) -> FileStore:
    from perstack.errors import UsageError
    from perstack.journal.files import FileStore

    if isinstance(store, FileStore):
        return store
    raise UsageError("Only journals in files can be followed and verified.", hint="Give a path as --state-dir.")


def _check_combinations(args: argparse.Namespace) -> None:
    from perstack.errors import UsageError

    if args.messages and not args.checkpoint:
        raise UsageError("--messages shows the conversation at a checkpoint.", hint="Add --checkpoint ID.")
    if args.pretty and not args.json:
        raise UsageError("--pretty is how --json is laid out.", hint="Add --json.")
    if args.jobs:
        _exclude(
            args, "jobs", (*(each for each in _FILTERS if each != "since"), *_OF_ONE_JOB), "A list has whole jobs."
        )
    if args.head and not args.verify:
        raise UsageError("--head is what --verify looks for.", hint="Add --verify.")
    if args.export:
        others = ("take", "offset", "context", "summary", "checkpoint", "verify", "jobs", "json", "follow")
        _exclude(args, "export", (*_FILTERS, *others), "An export is whole.")
    if args.follow:
        _exclude(args, "follow", ("offset", "context", "summary", "checkpoint", "verify", "jobs", "pretty"))


def _exclude(args: argparse.Namespace, option: str, others: Sequence[str], hint: str = "") -> None:
    """None of the others was given.

    Raises:
        UsageError: One was.
    """
    from perstack.errors import UsageError

    for name in others:
        if getattr(args, name) not in (False, None, [], 0, _TAKE):
            raise UsageError(f"--{option} and --{name} exclude each other.", hint=hint)


def _query(args: argparse.Namespace) -> Query:
    from perstack.ids import checked_id
    from perstack.journal.filters import parse_condition, parse_since, parse_steps
    from perstack.journal.query import Query

    for name in ("job", "run", "checkpoint"):
        if getattr(args, name) is not None:
            checked_id(getattr(args, name), what=f"{name} id")
    now = time.time_ns() // 1_000_000
    return Query(
        run=args.run,
        steps=parse_steps(args.step) if args.step is not None else None,
        types=frozenset(_known_type(each) for each in args.type),
        tool=args.tool,
        skill=args.skill,
        errors=args.errors,
        tools=args.tools,
        delegations=args.delegations,
        network=args.network,
        since=parse_since(args.since, now=now) if args.since is not None else None,
        conditions=tuple(parse_condition(each) for each in args.filter),
    )


def _known_type(name: str) -> str:
    from perstack import events
    from perstack.errors import UsageError
    from perstack.journal.query import JOURNALED_TYPES

    if name in JOURNALED_TYPES:
        return name
    structs = (value for value in vars(events).values() if isinstance(value, type) and issubclass(value, events.Event))
    if name in {struct.__struct_config__.tag for struct in structs}:
        raise UsageError(
            f"Events of type {name!r} restate others and are not kept.", hint="finishToolExecution has each result."
        )
    close = get_close_matches(name, JOURNALED_TYPES, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Types: {', '.join(JOURNALED_TYPES)}"
    raise UsageError(f"There are no events of type {name!r}.", hint=hint)


def _job(store: JournalStore, args: argparse.Namespace) -> str | None:
    """The job that the arguments mean; None when there is none."""
    from perstack.journal.query import entries

    jobs = store.jobs()
    if args.job is not None:
        found: str = args.job
        return found if found in jobs else None
    for job_id in jobs:
        if args.run is None and args.checkpoint is None:
            return job_id
        if args.run is not None:
            if any(entry.event.run_id == args.run for entry in entries(store.read(job_id))):
                return job_id
        elif _find_checkpoint(store, job_id, args.checkpoint):
            return job_id
    return None


def _find_checkpoint(store: JournalStore, job_id: str, checkpoint_id: str) -> Checkpoint | None:
    from perstack.events import ContinueToNextStep, EndOfRun
    from perstack.journal.query import entries

    for entry in entries(store.read(job_id)):
        event = entry.event
        if isinstance(event, ContinueToNextStep | EndOfRun) and event.checkpoint.id == checkpoint_id:
            return event.checkpoint
    return None


def _nothing(args: argparse.Namespace) -> int:
    if args.json:
        print('{"job":null,"events":[]}' if not args.follow else "", end="" if args.follow else "\n")
    else:
        print("No data found")
    sys.stdout.flush()
    return 0
