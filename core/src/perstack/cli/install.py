"""``perstack install [EXPERT...]``: the packages of skills are fetched, and what skills may be is locked."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise_line

from perstack.cli.project import add_project_options, open_with
from perstack.errors import ExitCode, PerstackError, UsageError

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.events import Event
    from perstack.locking.holding import Held
    from perstack.locking.sourcing import Sources
    from perstack.plugins.registry import Registry
    from perstack.specs import RuntimeSpec

SUMMARY = "Fetch and lock what skills run, in perstack.lock"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``perstack install``."""
    parser.add_argument("experts", metavar="EXPERT", nargs="*", help="keys of Experts (default: all)")
    parser.add_argument(
        "--update",
        metavar="SKILL",
        action="append",
        nargs="?",
        default=[],
        help="let this skill become something else than what is locked; without SKILL, every skill",
    )
    parser.add_argument(
        "--with-env",
        metavar="SKILL",
        action="append",
        default=[],
        help="give this skill its variables while its tools are listed; can be repeated",
    )
    parser.add_argument("--list", action="store_true", help="list the packages that are installed on this machine")
    parser.add_argument(
        "--workspace", metavar="DIR", default=".", help="shown to skills, read-only (default: this one)"
    )
    add_project_options(parser)


def run(args: argparse.Namespace) -> int:
    """Write the lock, and show what is new or different in it."""
    from perstack_proxy.processes import set_not_dumpable

    from perstack.paths import named_directory

    set_not_dumpable()  # before a single token is read
    if args.list:
        return _list(as_json=args.json)
    loaded, registry = open_with(args)
    lines = install(
        loaded,
        registry,
        args.experts or tuple(loaded.project.experts),
        workspace=named_directory(args.workspace),
        update=None if None in args.update else args.update,
        trusted=args.with_env,
    )
    if args.json:
        print(json.dumps({"lock": str(_lock_path(loaded)), "changes": list(lines)}, indent=2))
    else:
        for line in lines or ("Everything is installed, and is what the lock says.",):
            print(sanitise_line(line))
    return ExitCode.COMPLETED


def _list(*, as_json: bool) -> int:
    """Print the package sets of all projects of this user."""
    from datetime import datetime

    from perstack.locking.store import FOLDER, Store
    from perstack.paths import cache_dir

    found = Store(cache_dir(os.environ) / FOLDER).kept()
    rows = [
        {"packages": one.title, "key": one.key, "used": datetime.fromtimestamp(one.used).astimezone().isoformat()}
        for one in found
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
    for row in () if as_json else rows:
        print(sanitise_line(f"{row['key'][:12]}  {row['used'][:10]}  {row['packages']}"))
    return ExitCode.COMPLETED


def install(
    loaded: Loaded,
    registry: Registry,
    experts: Sequence[str],
    *,
    workspace: Path,
    update: Collection[str] | None = (),
    trusted: Collection[str] = (),
) -> tuple[str, ...]:
    """What is new or different in the lock, which was written; progress goes to standard error.

    Raises:
        UsageError: There is no skill of a name that was given.
        LockMismatch: A skill that may not change is not what the lock says; nothing was written.
        SkillError: A skill cannot be installed; nothing was written.
    """
    import anyio

    from perstack.locking.holding import project_lock
    from perstack.locking.installing import Installer
    from perstack.locking.lockfile import Lock, write_lock
    from perstack.policy.decide import decide
    from perstack.policy.validate import chosen_runtime

    spec = registry.runtime(chosen_runtime(loaded, registry).name)
    before = project_lock(loaded, os.environ)
    held = before.only(loaded.project.experts.keys() | loaded.broken.keys())
    decisions = [decide(loaded, key, registry=registry, runtime_spec=spec, workspace=workspace) for key in experts]
    known = {policy.skill for decision in decisions for policy in decision.skills}
    if unknown := sorted({*(update or ()), *trusted} - known):
        raise UsageError(f"There is no skill {unknown[0]!r} here.", hint=f"There are: {', '.join(sorted(known))}.")

    async def installed() -> tuple[Lock, tuple[str, ...]]:
        installer = Installer(
            sources=await _sources(loaded, spec, held),
            plugins=registry,
            held=held,
            workspace=workspace,
            update=update,
            trusted=trusted,
            notify=_show_building,
        )
        return await installer.install(
            {key: expert for decision in decisions for key, expert in decision.experts.items()}
        )

    lock, lines = anyio.run(installed)
    if lock != before.lock:
        write_lock(_lock_path(loaded), lock)
    return lines


async def _sources(loaded: Loaded, spec: RuntimeSpec, held: Held) -> Sources:
    """Where packages come from and go to, with a runtime that works here.

    Raises:
        SandboxUnavailable: It does not.
    """
    from perstack.ids import new_id
    from perstack.journal.files import default_state_dir
    from perstack.launch.plan import proxy_of_environment
    from perstack.locking.sourcing import Sources
    from perstack.sandbox.lease import check_works
    from perstack.specs import RuntimeContext

    context = RuntimeContext(
        run_id=new_id(), job_id="install", state_dir=default_state_dir(os.environ), notify=_show_building
    )
    runtime = spec.factory(context)
    await check_works(spec.name, runtime)
    return Sources(
        runtime=runtime,
        spec=spec,
        store=held.store,
        machine=held.machine,
        host_env=loaded.host_env,
        environ=os.environ,
        home=Path.home(),
        proxy=proxy_of_environment(os.environ),
        say=_say,
    )


def is_wanted(missing: PerstackError) -> bool:
    """Whether the person at the terminal has what is missing installed now; without a terminal nobody has."""
    from perstack.terminal.prompts import open_terminal

    terminal = open_terminal(os.environ)
    if terminal is None:
        return False
    try:
        details = "Installing fetches packages from your registry and starts the skill to list its tools."
        answer = terminal.read(f"{missing} Install and lock it now? [y]es, [n]o:", details)
    finally:
        terminal.close()
    return (answer or "").lower() in {"y", "yes"}


def _lock_path(loaded: Loaded) -> Path:
    from perstack.locking.lockfile import lock_path

    return lock_path(loaded.directory)


def _say(line: str) -> None:
    print(f"perstack: {sanitise_line(line)}", file=sys.stderr)


def _show_building(event: Event) -> None:
    from perstack.events import DockerBuildProgress

    if isinstance(event, DockerBuildProgress):
        _say(event.message)
