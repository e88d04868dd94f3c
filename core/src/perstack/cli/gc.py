"""``perstack gc``: what killed runs left behind is removed; found by perstack's own labels, and nothing else."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from perstack_proxy.sanitise import sanitise_line

from perstack.cli.parsing import whole_number
from perstack.errors import ExitCode

SUMMARY = "Remove what killed runs left behind"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``perstack gc``."""
    parser.add_argument("--runtime", metavar="NAME", action="append", default=[], help="runtimes (default: all)")
    parser.add_argument(
        "--packages", metavar="DAYS", type=whole_number, help="also remove locked packages not used for so long"
    )
    parser.add_argument("--state-dir", metavar="DIR", help="where journals are kept (default: the user's)")


def _unused_packages(days: int | None) -> Iterator[str]:
    """What was removed of the installed packages; a lock that names it brings it back."""
    if days is None:
        return
    from perstack.locking.store import FOLDER, Store
    from perstack.paths import cache_dir

    store = Store(cache_dir(os.environ) / FOLDER)
    for found in store.unused(days):
        store.remove(found.key)
        yield f"packages {found.title} ({found.key[:12]})"


def run(args: argparse.Namespace) -> int:
    """Print each thing that was removed; a runtime that does not work here has left nothing."""
    import anyio

    from perstack.cli.changes import left_over
    from perstack.cli.failures import warn
    from perstack.cli.plugin_loading import load_plugins
    from perstack.ids import new_id
    from perstack.journal.files import default_state_dir
    from perstack.protocols import Runtime
    from perstack.specs import RuntimeContext

    args.registry = registry = load_plugins(args)
    state = Path(args.state_dir) if args.state_dir else default_state_dir(os.environ)
    specs = [registry.runtime(name) for name in args.runtime] or list(registry.runtimes.values())

    async def reap(runtime: Runtime) -> tuple[str, ...] | None:
        return await runtime.reap() if (await runtime.preflight()).ok else None

    count = 0
    for spec in specs:
        context = RuntimeContext(run_id=new_id(), job_id="gc", state_dir=state, notify=lambda _: None)
        ended = anyio.run(reap, spec.factory(context))
        if ended is None:
            warn([f"Runtime {spec.name!r} does not work here, so nothing of it was looked for."])
        for name in ended or ():
            count += 1
            print(f"{spec.name}: removed {sanitise_line(name)}")
    for name in _unused_packages(args.packages):
        count += 1
        print(f"removed {sanitise_line(name)}")
    kept = [*left_over(state)]
    for line in kept:
        print(line)
    if not count and not kept:
        print("Nothing was left behind.")
    return ExitCode.COMPLETED
