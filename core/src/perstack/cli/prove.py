"""``perstack prove``: hostile programs in the sandboxes of a project, and what each control was worth."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.cli.project import add_project_options, open_with
from perstack.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from perstack.config.loading import Loaded

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
    parser.add_argument("--junit", metavar="FILE", help="write the result as JUnit XML, too")
    parser.add_argument("--state-dir", metavar="DIR", help="where journals are kept (default: the user's)")
    add_project_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print what was proved; 6 when a claim does not hold."""
    import anyio
    from perstack_proxy.processes import set_not_dumpable

    set_not_dumpable()  # before a single secret is read
    loaded, registry = open_with(args)

    from perstack.cli.failures import warn
    from perstack.config.models import RUNTIME
    from perstack.journal.files import default_state_dir
    from perstack.launch.proof import prove_project
    from perstack.launch.signals import ended_by_signals
    from perstack.paths import working_directory
    from perstack.policy.decide import decide
    from perstack.proving.findings import SkillProof
    from perstack.proving.report import as_json, as_junit, as_text

    runtime = registry.runtime(loaded.project.runtime or RUNTIME)
    workspace = (working_directory() / args.workspace).resolve()
    decisions = [
        decide(loaded, expert, registry=registry, runtime_spec=runtime, workspace=workspace)
        for expert in _experts(loaded, args.expert)
    ]

    async def main() -> tuple[SkillProof, ...]:
        async with ended_by_signals(lambda: "Nothing of the proof is left."):
            return await prove_project(
                decisions,
                loaded=loaded,
                registry=registry,
                runtime_spec=runtime,
                workspace=workspace,
                state_dir=Path(args.state_dir) if args.state_dir else default_state_dir(os.environ),
                progress=lambda text: warn([f"trying {text}"]),
            )
        raise AssertionError("the block above returns or raises")

    started = time.monotonic()
    proofs = anyio.run(main)
    if args.junit:
        Path(args.junit).write_bytes(as_junit(proofs, runtime=runtime.name))
    if args.json:
        print(json.dumps(as_json(proofs, runtime=runtime.name, seconds=time.monotonic() - started), indent=2))
    else:
        from perstack.terminal.output import Output

        output = Output(sys.stdout, os.environ)
        for line, tone in as_text(proofs):
            output.line(line, tone)
    return ExitCode.BROKEN if any(proof.broken for proof in proofs) else ExitCode.COMPLETED


def _experts(loaded: Loaded, wanted: str | None) -> tuple[str, ...]:
    if wanted is not None:
        return (wanted,)
    keys = tuple(loaded.project.experts)
    if not keys:
        raise UsageError("The project declares no Expert.", hint="See: perstack check")
    return keys
