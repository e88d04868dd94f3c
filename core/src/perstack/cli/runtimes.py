"""``perstack runtimes``: the runtimes of this machine side by side, control by control."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from perstack.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from perstack.launch.comparison import RuntimeStanding

EPILOG = "A sandbox of each runtime is opened and asked what holds. To try whether it does: perstack prove"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``perstack runtimes``."""
    parser.epilog = EPILOG
    parser.add_argument("runtimes", metavar="RUNTIME", nargs="*", help="runtimes to compare (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the table; a runtime that does not work here is part of it."""
    import anyio

    from perstack.cli.failures import warn
    from perstack.cli.plugin_loading import load_plugins
    from perstack.launch.comparison import compare

    args.registry = registry = load_plugins(args)
    warn(registry.warnings)
    specs = [registry.runtime(name) for name in args.runtimes] or list(registry.runtimes.values())
    standings = anyio.run(compare, specs)
    if args.json:
        rows = [
            {"runtime": one.name, "summary": one.summary, "problem": one.problem, "controls": one.controls}
            for one in standings
        ]
        print(json.dumps(rows, indent=2))
    else:
        for line in _table(standings):
            print(line)
    return ExitCode.COMPLETED


def _table(standings: Sequence[RuntimeStanding]) -> Iterator[str]:
    from perstack_proxy.sanitise import sanitise_line

    from perstack.skill_policy import CONTROLS

    names = [sanitise_line(one.name, limit=40) for one in standings]
    widths = [max(len(name), len("not claimed")) for name in names]
    yield "  ".join([f"{'':<18}", *(f"{name:<{width}}" for name, width in zip(names, widths, strict=True))]).rstrip()
    for control in CONTROLS:
        cells = [f"{one.controls[control]:<{width}}" for one, width in zip(standings, widths, strict=True)]
        yield "  ".join([f"{control:<18}", *cells]).rstrip()
    for name, one in zip(names, standings, strict=True):
        if one.problem:
            yield f"{name} does not work here: {one.problem}"
