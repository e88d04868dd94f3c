"""The attacks on what a sandbox shows of its host, judged."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from perstack_proxy.envnames import SAFE_NAMES
from perstack_proxy.variables import proxy_variables

from perstack.proving.attacks import Attack, listed, number, texts
from perstack.proving.outside import UNIX

if TYPE_CHECKING:
    from perstack.messages import JsonObject
    from perstack.proving.attacks import Case, Judgement

PLACE_NAMES = frozenset({"PATH", "HOME", "SHELL", "TERM", "NODE_PATH", "LC_CTYPE"})
"""What a runtime sets itself and Python adds; the values are the same on many machines."""
WAY_OUT = frozenset(proxy_variables(""))
"""What leads a skill with domains to its forwarder."""
SHORTEST_VALUE = 8
"""Shorter values are the same on many machines."""
CONTROL_FILES = ("perstack.toml", "perstack.lock", ".git/config")
SECRET_FILES = (".env", ".npmrc", ".netrc", ".git-credentials")


def _environment(case: Case) -> JsonObject:
    return {"salt": case.host.mark}


def _judge_environment(case: Case, report: JsonObject) -> Judgement:
    seen = report["variables"]
    if not isinstance(seen, dict):
        raise TypeError("variables")
    digests = {name: digest(case.host.mark, value) for name, value in case.values.items()}
    own = {*SAFE_NAMES, *PLACE_NAMES, *(WAY_OUT if case.policy.egress else ())}
    foreign = sorted(set(seen) - set(digests) - own)
    unlisted = {
        digest(case.host.mark, value): name
        for name, value in case.environ.items()
        if name not in PLACE_NAMES and len(value) >= SHORTEST_VALUE and value not in case.values.values()
    }
    shown = sorted({unlisted[str(value)] for value in seen.values() if str(value) in unlisted})
    absent = sorted(name for name, value in digests.items() if seen.get(name) != value)
    if foreign or shown:
        yield "env", False, f"it sees {listed(foreign + shown)}, which it was not granted"
    elif absent:
        yield "env", None, f"{listed(absent)} did not arrive, so nothing can be said of the others"
    else:
        yield "env", True, f"it sees {len(seen)} variables, and none of the host's {len(case.environ)} but its own"


def digest(salt: str, value: str) -> str:
    """A value as a sandbox tells of it."""
    return hashlib.sha256((salt + value).encode("utf-8", "surrogateescape")).hexdigest()


def _files(case: Case) -> JsonObject:
    workspace, files = case.workspace, case.policy.file_policy
    closed = [name for name in CONTROL_FILES if files.control(name.split("/")) is not None]
    masked = [name for name in SECRET_FILES if files.secret([name])]
    packages = (case.policy.packages,) if case.policy.packages is not None else ()
    return {
        "directories": [str(bait) for bait in case.host.baits],
        "name": case.host.canary,
        "mark": case.mark,
        "guarded": [name for name in closed if (workspace / name).is_file()],
        "hidden": [name for name in masked if (workspace / name).is_file() and (workspace / name).stat().st_size],
        "read_only": [mount.target for mount in (*case.policy.mounts, *packages) if mount.mode == "ro"],
        "copied": [mount.target for mount in case.policy.mounts if mount.mode == "overlay"],
        "left": f".perstack-{case.mark}",
    }


def _judge_files(case: Case, report: JsonObject) -> Judgement:
    read, written = texts(report, "read"), texts(report, "written")
    changeable, shown = texts(report, "changeable"), texts(report, "shown")
    made = case.host.made(case.number)
    left = (case.workspace / f".perstack-{case.mark}").exists()
    if read:
        yield "filesystem", False, f"it read a file of the host by {listed(read)}"
    if written or made:
        yield "filesystem", False, f"it made a file on the host by {listed(written) or 'an unknown road'}"
    if changeable:
        yield "filesystem", False, f"it may change {listed(changeable)}"
    if left:
        yield "filesystem", False, "it changed the workspace itself, and not the copy that it is given"
    if shown:
        yield "filesystem", False, f"it may read {listed(shown)} of the workspace"
    if not (read or written or made or changeable or shown or left):
        roads = number(report["tried"])
        yield "filesystem", True, f"a file of the host was not found by {roads} roads, and nothing was made beside it"


def _sockets(case: Case) -> JsonObject:
    return {"address": str(case.host.unix), "mark": case.mark}


def _judge_sockets(case: Case, report: JsonObject) -> Judgement:
    reached, engines = texts(report, "reached"), texts(report, "engines")
    arrived = [place for place in case.host.arrivals(case.number) if place == UNIX]
    if reached or arrived:
        yield "filesystem", False, "it reached a unix socket of the host"
    if engines:
        yield "filesystem", False, f"an engine answers at {listed(engines)}"
    if not (reached or arrived or engines):
        yield "filesystem", True, f"no engine or service of the host answers at {number(report['tried'])} unix sockets"


def _processes(case: Case) -> JsonObject:
    return {"mark": case.host.decoy}


def _judge_processes(_: Case, report: JsonObject) -> Judgement:
    holders, seen = texts(report, "holders"), number(report["seen"])
    if holders:
        yield "filesystem", False, "it read the variables of a process of the host in /proc"
    elif seen == 0:
        yield "filesystem", None, "it saw no process, not even its own"
    else:
        yield "filesystem", True, f"of the host's processes it saw none; of its own {seen}"


def _root(case: Case) -> JsonObject:
    return {"whole": not case.brief, "seconds": 4.0}


def _judge_root(_: Case, report: JsonObject) -> Judgement:
    made, tried = texts(report, "made"), number(report["tried"])
    if made:
        yield "rootfs", False, f"a file could be made in {listed(made)}"
    elif report["read_only"] is not True:
        yield "rootfs", False, "the root file system is not read-only"
    else:
        yield "rootfs", tried > 0 or None, f"the root file system is read-only: {tried} directories tried"


ATTACKS = (
    Attack(
        name="environment",
        program="place",
        controls=("env",),
        arguments=_environment,
        judge=_judge_environment,
    ),
    Attack(name="files", program="place", controls=("filesystem",), arguments=_files, judge=_judge_files),
    Attack(name="sockets", program="place", controls=("filesystem",), arguments=_sockets, judge=_judge_sockets),
    Attack(name="processes", program="place", controls=("filesystem",), arguments=_processes, judge=_judge_processes),
    Attack(
        name="root",
        program="place",
        controls=("rootfs",),
        arguments=_root,
        judge=_judge_root,
        free=lambda: False,
    ),
)
