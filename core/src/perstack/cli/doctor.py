"""``perstack doctor``: whether this machine can keep the promises, and for every problem what helps."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise_line

from perstack.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from perstack.specs import DoctorCheck, HealthReport

SUMMARY = "Check this machine and its runtimes"
SECONDS = 120.0
"""For one check; starting a first sandbox takes seconds."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``perstack doctor``."""
    parser.add_argument("plugins", metavar="PLUGIN", nargs="*", help="plugins to ask (default: all that have checks)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what was found; 2 when something needs mending."""
    import anyio

    from perstack.cli.failures import warn
    from perstack.cli.plugin_loading import load_plugins

    args.registry = registry = load_plugins(args)
    warn(registry.warnings)
    wanted = set(args.plugins)
    checks = [
        (plugin, check)
        for plugin, check in registry.doctor_checks()
        if not wanted or {plugin, plugin.removeprefix("runtime-")} & wanted
    ]
    unchecked = wanted - {name for plugin, _ in checks for name in (plugin, plugin.removeprefix("runtime-"))}
    if unchecked:
        raise UsageError(f"No active plugin {min(unchecked)!r} has checks.", hint="See: perstack plugins list")
    reports = [(plugin, check, anyio.run(_report, check)) for plugin, check in checks]
    if args.json:
        rows = [
            {"plugin": plugin, "check": check.name, "ok": found.ok, "detail": found.detail, "fix": found.fix}
            for plugin, check, found in reports
        ]
        print(json.dumps(rows, indent=2))
    else:
        for plugin, check, found in reports:
            _show(plugin, check, found)
        if not reports:
            print("No active plugin has checks; see: perstack plugins list")
    return ExitCode.COMPLETED if all(found.ok for _, _, found in reports) else ExitCode.FAILED


def _show(plugin: str, check: DoctorCheck, found: HealthReport) -> None:
    print(f"{'ok  ' if found.ok else 'FAIL'}  {plugin}: {sanitise_line(check.summary)}")
    for line in found.detail.splitlines():
        print(f"        {sanitise_line(line)}")
    if found.fix and not found.ok:
        print(f"        fix: {sanitise_line(found.fix)}")


async def _report(check: DoctorCheck) -> HealthReport:
    """What the check found; one that fails or hangs found a problem."""
    import anyio

    from perstack.errors import PerstackError
    from perstack.specs import HealthReport

    try:
        with anyio.fail_after(SECONDS):
            return await check.run()
    except TimeoutError:
        return HealthReport(ok=False, detail=f"The check did not end within {SECONDS:g} s.")
    except PerstackError as error:
        return HealthReport(ok=False, detail=str(error), fix=error.hint)
    except Exception as error:  # noqa: BLE001 - a check of a plugin
        return HealthReport(ok=False, detail=f"The check itself failed: {str(error) or type(error).__name__}")
