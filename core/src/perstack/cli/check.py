"""``perstack check``: everything that is wrong with a configuration, and with ``--review`` all that is worth a look."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise_line

from perstack.cli.project import add_project_options, open_with
from perstack.errors import ConfigError, ExitCode, Problem, UserError

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.config.models import ExpertConfig
    from perstack.messages import JsonObject, JsonValue
    from perstack.plugins.registry import Registry
    from perstack.policy.review import Finding
    from perstack.protocols import SkillTool

SUMMARY = "Check a configuration without running it"

EPILOG = """\
exit codes:
  0 nothing is wrong   1 something is   5 a review has findings that nobody accepted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``perstack check``."""
    parser.epilog = EPILOG
    add_project_options(parser)
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of perstack.toml")
    parser.add_argument(
        "--review",
        metavar="EXPERT",
        nargs="?",
        const="",
        help="list what to look at before running EXPERT and its delegates (default: every Expert)",
    )
    parser.add_argument(
        "--accept", metavar="ID", action="append", default=[], help="accept this finding once; can be repeated"
    )


def run(args: argparse.Namespace) -> int:
    """Print what was found; the exit code says whether something has to be done."""
    if args.schema:
        _print_json(_schema())
        return ExitCode.COMPLETED
    try:
        loaded, registry = open_with(args)

        from perstack.policy import validate
        from perstack.policy.destinations import chosen_diversions

        found = (*validate.problems(loaded, registry), *_lock_problems(loaded))
        if args.review is None:  # a review lists it among all that there is to look at before anything is allowed
            found += chosen_diversions(loaded, registry.providers)
        if found:
            raise ConfigError(found)
    except ConfigError as error:
        if not args.json:
            raise
        _print_json({"ok": False, "problems": [_problem(problem) for problem in error.problems]})
        return error.exit_code
    notes = validate.notes(loaded, registry)
    if args.review is None:
        return _sound(loaded, notes, as_json=args.json)
    return _review(args, loaded, registry)


def _lock_problems(loaded: Loaded) -> tuple[Problem, ...]:
    """What is wrong with the project's lock file."""
    from perstack.locking.holding import project_lock

    try:
        project_lock(loaded, os.environ)
    except UserError as error:
        return (Problem(message=str(error), hint=error.hint),)
    return ()


def _sound(loaded: Loaded, notes: Sequence[Problem], *, as_json: bool) -> int:
    experts = loaded.project.experts.values()
    counts = {"experts": len(experts), "skills": sum(len(expert.skills) for expert in experts)}
    if as_json:
        shown: list[JsonValue] = [_problem(note) for note in notes]
        _print_json({"ok": True, "file": str(loaded.path), **counts, "notes": shown})
    else:
        _print_lines(f"note: {note}" for note in notes)
        _print_lines([f"{loaded.path}: Experts: {counts['experts']}, skills: {counts['skills']}, problems: none"])
    return ExitCode.COMPLETED


def _review(args: argparse.Namespace, loaded: Loaded, registry: Registry) -> int:
    from perstack.policy.decide import closure
    from perstack.policy.review import review

    experts = closure(loaded, args.review) if args.review else tuple(loaded.project.experts.values())
    tools, locked = _known(loaded, experts, registry)
    findings = review(
        loaded,
        experts,
        providers=registry.providers.values(),
        accepted=args.accept,
        tools=tools,
        locked=locked,
    )
    left = [finding for finding in findings if not finding.accepted]
    if args.json:
        _print_json({"ok": not left, "file": str(loaded.path), "findings": [_finding(finding) for finding in findings]})
    else:
        _print_lines(_finding_line(finding) for finding in findings)
        _print_lines(_verdict(loaded, left))
    return ExitCode.REFUSED if left else ExitCode.COMPLETED


def _known(
    loaded: Loaded, experts: Sequence[ExpertConfig], registry: Registry
) -> tuple[dict[str, Sequence[SkillTool] | None], dict[str, int]]:
    """What the skills of others are locked to, or offered when they last ran here; and how many packages are locked.

    Checking starts none of them.
    """
    from perstack.config.skills import BASE_SKILL
    from perstack.journal.files import default_state_dir
    from perstack.locking.holding import project_lock
    from perstack.policy.decide import verdicts
    from perstack.policy.validate import chosen_runtime
    from perstack.sandbox.known_tools import known_tools
    from perstack.sandbox.lease import WITHOUT_SERVER

    known, runtime = known_tools(default_state_dir(os.environ)), chosen_runtime(loaded, registry)
    held = project_lock(loaded, os.environ)
    policies, _ = verdicts(loaded, experts, registry=registry, runtime_spec=runtime, workspace=loaded.directory)
    others = [
        policy
        for expert in policies.values()
        for policy in expert.skills
        if policy.skill != BASE_SKILL and policy.kind not in WITHOUT_SERVER
    ]
    tools: dict[str, Sequence[SkillTool] | None] = {}
    tools |= {f"{each.expert}/{each.skill}": held.tools(each) or known.of(each) for each in others}
    counts = {f"{each.expert}/{each.skill}": held.package_count(each) for each in others}
    return tools, {place: count for place, count in counts.items() if count}


def _finding_line(finding: Finding) -> str:
    mark = " " if finding.accepted else "!"
    where = f"{finding.where} " if finding.where else ""
    accept = "" if finding.accepted else f"  accept: {finding.id}"
    return f"{mark} {finding.code.code} {where}{finding.message}  [{finding.origin}]{accept}"


def _verdict(loaded: Loaded, left: Sequence[Finding]) -> Iterable[str]:
    if not left:
        yield "Nothing is left to accept."
        return
    yield f"Findings to accept: {len(left)}"
    for code in {finding.code.code: finding.code for finding in left}.values():
        yield f"  {code.code}: {code.summary}"
    yield "When you have looked at them, pass --accept ID for one time, or write the ids into your own settings:"
    yield f'  [projects."{loaded.directory}".policy]'
    yield "  accept = ["
    yield from (f'    "{finding.id}",' for finding in left)
    yield "  ]"


def _schema() -> JsonObject:
    from perstack.config.models import Project

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Project.model_json_schema()}


def _problem(problem: Problem) -> JsonObject:
    return {
        "message": problem.message,
        "file": problem.where,
        "line": problem.line,
        "key": problem.key,
        "hint": problem.hint,
    }


def _finding(finding: Finding) -> JsonObject:
    return {
        "code": finding.code.code,
        "id": finding.id,
        "summary": finding.code.summary,
        "message": finding.message,
        "where": finding.where,
        "origin": str(finding.origin),
        "accepted": finding.accepted,
    }


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(sanitise_line(line))


def _print_json(value: JsonObject) -> None:
    print(json.dumps(value, indent=2))
