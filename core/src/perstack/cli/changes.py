"""``perstack changes [JOB]``: what skills changed in copies of workspaces, and whether it is applied or dropped."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise_line

from perstack.errors import ExitCode, StagingError, UsageError

if TYPE_CHECKING:
    from perstack.messages import JsonObject
    from perstack.staging.attribution import CallRef
    from perstack.staging.changes import Change
    from perstack.staging.copies import Applied, StagedCopy

SHOWN = 20
"""Paths that are named one by one where a number says enough."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``perstack changes``."""
    parser.add_argument("job", metavar="JOB", nargs="?", help="the job whose changes are meant (default: list all)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--apply", action="store_true", help="make the changes in the workspace")
    what.add_argument("--drop", action="store_true", help="throw the changes away")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--state-dir", metavar="DIR", help="where journals are kept (default: the user's)")


def run(args: argparse.Namespace) -> int:
    """List, show, apply or drop; a change that could not be applied makes the exit code 2."""
    from perstack.journal.files import default_state_dir
    from perstack.staging.copies import Copies

    copies = Copies(Path(args.state_dir) if args.state_dir else default_state_dir(os.environ))
    if args.job is None:
        if args.apply or args.drop:
            raise UsageError("Whose changes?", hint="Name a job; see: perstack changes")
        return _list(copies.ids(), copies.open, as_json=args.json)
    copy = copies.open(args.job)
    try:
        if args.drop:
            copy.drop()
            print(json.dumps({"dropped": copy.about.id}) if args.json else f"Dropped the changes of {copy.about.id}.")
            return ExitCode.COMPLETED
        if args.apply:
            return _apply(copy, as_json=args.json)
        _show(copy, as_json=args.json)
        return ExitCode.COMPLETED
    finally:
        copy.close()


def left_over(state_dir: Path) -> Iterator[str]:
    """A line for each copy whose run was killed before it brought back its changes; one without changes is removed."""
    from perstack.staging.copies import Copies
    from perstack.staging.diff import summary

    copies = Copies(state_dir)
    copies.sweep()
    for copy in copies.left_over():
        about = copy.about
        try:
            changes = copy.changes()
        except StagingError as error:
            yield f"Run {about.id} was killed, and its changes cannot be told: {error}"
            continue
        if changes:
            where = sanitise_line(about.workspace)
            yield f"Run {about.id} was killed with {summary(changes)}, in {where}. See: perstack changes {about.id}"
        else:
            copy.drop()


def _list(ids: Sequence[str], opened: Callable[[str], StagedCopy], *, as_json: bool) -> int:
    from perstack.staging.diff import summary

    rows: list[JsonObject] = []
    for name in ids:
        try:
            copy = opened(name)
        except StagingError as error:
            rows.append({"id": name, "problem": str(error)})
            continue
        try:
            about = copy.about
            row: JsonObject = {"id": name, "job": about.job, "mode": about.purpose, "workspace": about.workspace}
            changes = copy.changes()
            rows.append({**row, "changes": len(changes), "summary": summary(changes)})
        except StagingError as error:
            rows.append({**row, "problem": str(error)})
        finally:
            copy.close()
    if as_json:
        print(json.dumps(rows, indent=2))
        return ExitCode.COMPLETED
    for row in rows:
        said = row.get("summary") or row.get("problem")
        print(sanitise_line(f"{row['id']}  {row.get('mode', '?'):<7}  {said}  {row.get('workspace', '')}"))
    if not rows:
        print("No changes are kept.")
    return ExitCode.COMPLETED


def _show(copy: StagedCopy, *, as_json: bool) -> None:
    from perstack.staging.attribution import attributed
    from perstack.staging.diff import describe, summary

    changes = copy.changes()
    calls = attributed(copy.calls)
    if as_json:
        shown = [_change(change, calls.get(change.path, ())) for change in changes]
        print(json.dumps({**_about(copy), "changes": shown}, indent=2))
        return
    for line in describe(copy, changes, calls):
        print(line)
    print(f"{_capital(summary(changes))}, in {sanitise_line(str(copy.workspace))}")
    if changes:
        print(f"Apply or drop them with: perstack changes {copy.about.id} --apply, or --drop")


def _apply(copy: StagedCopy, *, as_json: bool) -> int:
    applied = copy.apply()
    kept = bool(applied.left)
    if not kept:
        copy.drop()
    if as_json:
        made, left = ([_change(change, ()) for change in some] for some in (applied.made, applied.left))
        print(json.dumps({**_about(copy), "applied": made, "left": left}, indent=2))
    else:
        for line in outcome(copy, applied):
            print(line)
    return ExitCode.FAILED if kept else ExitCode.COMPLETED


def outcome(copy: StagedCopy, applied: Applied) -> Iterator[str]:
    """What became of the changes, line by line."""
    count = len(applied.made)
    yield f"Applied {count} change{'s' * (count != 1)} to {sanitise_line(copy.about.workspace)}."
    for change in applied.left[:SHOWN]:
        yield f"  not applied: {sanitise_line(change.path)}: {sanitise_line(change.reason)}"
    if len(applied.left) > SHOWN:
        yield f"  and {len(applied.left) - SHOWN} more"
    if applied.left:
        yield f"They are kept in {sanitise_line(str(copy.workspace))} until: perstack changes {copy.about.id} --drop"


def settle(state_dir: Path, job_id: str, *, apply: bool, ask: bool) -> list[str]:
    """What became of a job's changes at the end of its run: applied, kept, or nothing to keep.

    Args:
        state_dir: Where copies are.
        job_id: The job, which has a copy.
        apply: Whether the person said so beforehand.
        ask: Whether to show them to the person at the terminal, and to apply them if they say so.
    """
    from perstack.staging.attribution import attributed
    from perstack.staging.copies import Copies
    from perstack.staging.diff import describe, summary

    copy = Copies(state_dir).open(job_id)
    try:
        changes = copy.changes()
        if not changes:
            copy.drop()
            return []
        if ask and not apply:
            for line in describe(copy, changes, attributed(copy.calls)):
                print(line, file=sys.stderr)
            apply = _agreed(f"{_capital(summary(changes))}. Apply them? [y]es, [n]o:")
        if not apply:
            return [f"{_capital(summary(changes))}; kept until you apply or drop them: perstack changes {job_id}"]
        applied = copy.apply()
        if not applied.left:
            copy.drop()
        return [*outcome(copy, applied)]
    except StagingError as error:
        return [f"{error} They are kept: perstack changes {job_id}"]
    finally:
        copy.close()


def _agreed(question: str) -> bool:
    from perstack.terminal.prompts import open_terminal

    terminal = open_terminal(os.environ)
    if terminal is None:
        return False
    try:
        return (terminal.read(question) or "").lower() in {"y", "yes"}
    finally:
        terminal.close()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _about(copy: StagedCopy) -> JsonObject:
    about = copy.about
    return {
        "id": about.id,
        "job": about.job,
        "mode": about.purpose,
        "workspace": about.workspace,
        "copy": str(copy.workspace),
    }


def _change(change: Change, calls: Sequence[CallRef]) -> JsonObject:
    """A change as JSON; a name that is no text is escaped."""
    return {
        "path": _text(change.path),
        "kind": change.kind,
        "verdict": change.verdict,
        "reason": change.reason,
        "movedFrom": _text(change.moved_from) or None,
        "before": change.before and {"mode": f"{change.before.mode:o}", "size": change.before.size},
        "after": change.after and {"mode": f"{change.after.mode:o}", "size": change.after.size},
        "calls": [dict(zip(("expert", "skill", "tool", "id"), call, strict=True)) for call in calls],
    }


def _text(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
