"""``perstack prove``: hostile programs in the sandboxes of a project, and what each control was worth."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.cli.parsing import whole_number
from perstack.cli.project import add_project_options, open_with
from perstack.errors import ExitCode, UsageError
from perstack.skill_policy import CONTROLS, MOUNT_MODES

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.messages import JsonValue
    from perstack.plugins.registry import Registry
    from perstack.proving.findings import SkillProof
    from perstack.specs import RuntimeSpec

EPILOG = """\
exit codes:
  0 every claim held   1 usage or configuration   2 a sandbox could not be opened
  5 a run would be refused   6 a control does not hold
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``perstack prove``."""
    parser.epilog = EPILOG
    parser.add_argument("expert", metavar="EXPERT", nargs="?", help="key of an Expert (default: all of them)")
    parser.add_argument("--workspace", metavar="DIR", default=".", help="workspace of the run (default: this one)")
    parser.add_argument("--workspace-mode", choices=MOUNT_MODES, help="try it as for a run with this option")
    parser.add_argument(
        "--env", metavar="NAME", action="append", default=[], help="further variable for the Expert's skills"
    )
    relax_help = "try it as for a run that may go without this control; can be repeated"
    parser.add_argument("--relax", metavar="CONTROL", action="append", default=[], choices=CONTROLS, help=relax_help)
    time_help = "milliseconds that it may take; what was not tried by then is unknown (default: 600000)"
    parser.add_argument("--max-duration", metavar="MS", type=whole_number, help=time_help)
    parser.add_argument("--junit", metavar="FILE", help="write the result as JUnit XML, too")
    parser.add_argument("--state-dir", metavar="DIR", help="where journals are kept (default: the user's)")
    add_project_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was proved; 6 when a claim does not hold."""
    import anyio
    from perstack_proxy.processes import set_not_dumpable

    set_not_dumpable()  # before a single secret is read
    policy: dict[str, JsonValue] = {"relax": args.relax or None, "workspaceMode": args.workspace_mode}
    policy = {key: value for key, value in policy.items() if value is not None}
    loaded, registry = open_with(args, {"policy": policy} if policy else {})

    from perstack.config.models import RUNTIME
    from perstack.proving.report import as_json, as_junit, as_text

    runtime = registry.runtime(loaded.project.runtime or RUNTIME)
    started = time.monotonic()
    proofs = anyio.run(_proofs, args, loaded, registry, runtime)
    if args.json:
        print(json.dumps(as_json(proofs, runtime=runtime.name, seconds=time.monotonic() - started), indent=2))
    else:
        from perstack.terminal.output import Output

        output = Output(sys.stdout, os.environ)
        for line, tone in as_text(proofs):
            output.line(line, tone)
    if args.junit:
        _write(Path(args.junit), as_junit(proofs, runtime=runtime.name))
    return ExitCode.BROKEN if any(proof.broken for proof in proofs) else ExitCode.COMPLETED


async def _proofs(
    args: argparse.Namespace, loaded: Loaded, registry: Registry, runtime: RuntimeSpec
) -> tuple[SkillProof, ...]:
    """A proof of each skill, as runs with these options would be given it."""
    from perstack.cli.failures import warn
    from perstack.journal.files import default_state_dir
    from perstack.launch.proof import prove_project
    from perstack.launch.request import check_place
    from perstack.launch.signals import ended_by_signals
    from perstack.locking.holding import project_lock
    from perstack.paths import named_directory
    from perstack.policy.decide import decide
    from perstack.proving.prove import PROOF_SECONDS

    workspace = named_directory(args.workspace)
    state_dir = Path(args.state_dir) if args.state_dir else default_state_dir(os.environ)
    check_place(workspace, state_dir)
    held = project_lock(loaded, os.environ)
    decisions = [
        held.decision(
            decide(loaded, expert, registry=registry, runtime_spec=runtime, workspace=workspace, extra_env=args.env),
            runtime,
        )
        for expert in _experts(loaded, args.expert)
    ]
    async with ended_by_signals(lambda: "Nothing of the proof is left."):
        return await prove_project(
            decisions,
            loaded=loaded,
            registry=registry,
            runtime_spec=runtime,
            workspace=workspace,
            state_dir=state_dir,
            seconds=PROOF_SECONDS if args.max_duration is None else args.max_duration / 1000,
            progress=lambda text: warn([f"trying {text}"]),
        )
    raise AssertionError("the block above returns or raises")


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        message = f"{str(path)!r} could not be written: {error.strerror}."
        raise UsageError(message, hint="Choose another FILE.") from None


def _experts(loaded: Loaded, wanted: str | None) -> tuple[str, ...]:
    if wanted is not None:
        return (wanted,)
    keys = tuple(loaded.project.experts)
    if not keys:
        raise UsageError("The project declares no Expert.", hint="See: perstack check")
    return keys
