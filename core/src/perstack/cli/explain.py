"""``perstack explain EXPERT``: what each skill may do, decided as for a run, with the origin of every entry."""

from __future__ import annotations

import argparse
import json
import os

from perstack_proxy.sanitise import sanitise_line

from perstack.cli.failures import warn
from perstack.cli.project import add_project_options, open_with
from perstack.errors import ExitCode, LockMismatch
from perstack.skill_policy import MOUNT_MODES

SUMMARY = "Show what each skill of an Expert may do, and why"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``perstack explain``."""
    parser.add_argument("expert", metavar="EXPERT", help="key of the Expert in perstack.toml")
    parser.add_argument("--workspace", metavar="DIR", default=".", help="workspace of the run (default: this one)")
    parser.add_argument("--workspace-mode", choices=MOUNT_MODES, help="decide as for a run with this option")
    parser.add_argument(
        "--env", metavar="NAME", action="append", default=[], help="further variable for the Expert's skills"
    )
    add_project_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the decision; one that refuses the run is an error, as it is for the run."""
    mode = args.workspace_mode
    loaded, registry = open_with(args, {"policy": {"workspaceMode": mode}} if mode else {})

    from perstack.locking.holding import NotInstalled, NotLocked, project_lock
    from perstack.paths import named_directory
    from perstack.policy.decide import decide
    from perstack.policy.destinations import chosen_diversions
    from perstack.policy.explain import as_json, as_text
    from perstack.policy.model_access import model_lines, model_view
    from perstack.policy.validate import chosen_runtime, vendor_tools

    runtime = chosen_runtime(loaded, registry)
    if runtime.name not in registry.runtimes:
        warn([f"The runtime {runtime.name!r} is not installed; this is what one would have to enforce."])
    decision = decide(
        loaded,
        args.expert,
        registry=registry,
        runtime_spec=runtime,
        workspace=named_directory(args.workspace),
        extra_env=args.env,
    )
    try:
        decision = project_lock(loaded, os.environ).decision(decision, runtime)
    except (LockMismatch, NotInstalled, NotLocked) as error:
        warn([f"A run would be refused: {error}"])
    warn(f"A run would be refused: {problem}" for problem in chosen_diversions(loaded, registry.providers))
    vendors = {
        key: lines
        for key, policy in decision.experts.items()
        if (lines := vendor_tools(policy.expert, loaded, registry))
    }
    if args.json:
        print(
            json.dumps({**as_json(decision), "model": model_view(loaded, registry), "providerTools": vendors}, indent=2)
        )
    else:
        lines = [f"vendor tool of {key}: {line}" for key, told in vendors.items() for line in told]
        for line in (*as_text(decision), "", *model_lines(loaded, registry), *lines):
            print(sanitise_line(line))
    return ExitCode.COMPLETED
