"""Whether a plugin is well made: the checks that hold for every plugin, whatever it offers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perstack.plugins.compatibility import CORE
from perstack.plugins.discovery import Candidate, normalise
from perstack.plugins.hooks import LoadedPlugin
from perstack.plugins.records import Status
from perstack.skill_policy import CONTROLS
from perstack.specs import (
    EventSinkSpec,
    MiddlewareSpec,
    ProviderSpec,
    RuntimeSpec,
    SettingsSpec,
    StorageSpec,
    TransportSpec,
)

LIGHT = frozenset(
    {"msgspec", "packaging", "perstack", "perstack_containers", "perstack_proxy", "pluggy", "typing_extensions"}
)
"""Packages that core imports anyway, and one that plugins share; what it imports in turn counts as theirs."""

HEAVY = frozenset({"asyncio", "concurrent", "ctypes", "importlib.metadata", "multiprocessing", "sqlite3", "ssl"})
"""Modules of the standard library that cost a start more than a plugin may."""

PROBE_SECONDS = 60
_NAME = re.compile(r"[A-Za-z@][A-Za-z0-9._/+-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        id: Names the check, for reports and for lists of known gaps.
        sentence: What must hold.
        problem: What does not; empty when the check passed.
    """

    id: str
    sentence: str
    problem: str = ""


def check_plugin(candidate: Candidate, plugin: LoadedPlugin) -> Iterator[CheckResult]:
    """Every check of an installed plugin; those that need it to be active are left out when it is not.

    Args:
        candidate: Its metadata.
        plugin: What loading it gave.
    """
    record = plugin.record
    yield CheckResult(
        id="metadata:name",
        sentence="The entry point is named after the distribution.",
        problem=_name_problem(candidate),
    )
    yield CheckResult(
        id="metadata:core-range",
        sentence=f"The distribution says which versions of {CORE} it fits.",
        problem=_range_problem(candidate),
    )
    active = record.status is Status.ACTIVE
    yield CheckResult(
        id="load:active",
        sentence="It loads through its entry point.",
        problem="" if active else f"it is {record.status}: {record.cause}",
    )
    if not active:
        return
    try:
        imported, asked = _probe(candidate)
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        yield CheckResult(id="load:alone", sentence="It loads in a process of its own.", problem=str(error))
        return
    yield CheckResult(
        id="load:no-sdk-import",
        sentence="Its module imports nothing heavy.",
        problem=_heavy_problem(candidate, imported),
    )
    yield CheckResult(
        id="load:factory-late",
        sentence="Its hooks import nothing heavy; factories do, when they are called.",
        problem=_heavy_problem(candidate, asked),
    )
    yield CheckResult(
        id="load:spec-valid",
        sentence="What it offers is described in full.",
        problem="; ".join(problem for spec in plugin.specs for problem in _spec_problems(spec)),
    )


def _name_problem(candidate: Candidate) -> str:
    due = normalise(candidate.distribution).removeprefix("perstack-")
    return "" if candidate.name == due else f"the entry point is {candidate.name!r} and should be {due!r}"


def _range_problem(candidate: Candidate) -> str:
    named = [line for line in candidate.requires if re.match(rf"{CORE}\b", normalise(line))]
    if not named:
        return f'add "{CORE}>=0.1,<0.2" to its dependencies'
    return (
        "" if any("<" in line or "==" in line or "~=" in line for line in named) else f"{named[0]!r} has no upper end"
    )


def _probe(candidate: Candidate) -> tuple[list[str], list[str]]:
    command = [sys.executable, "-P", "-m", "perstack.plugins.probe", candidate.name, candidate.module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=True)
    imported, asked = json.loads(done.stdout.splitlines()[-1])
    return imported, asked


def _heavy_problem(candidate: Candidate, modules: Sequence[str]) -> str:
    own = {candidate.module.partition(".")[0], *LIGHT}
    heavy = {
        name if name in HEAVY else name.partition(".")[0]
        for name in modules
        if name in HEAVY or not (name.partition(".")[0] in own or _is_standard(name))
    }
    return f"it imports {', '.join(sorted(heavy))}; do that inside the factory" if heavy else ""


def _is_standard(name: str) -> bool:
    root = name.partition(".")[0]
    return root in sys.stdlib_module_names or root.startswith("_")


def _spec_problems(spec: object) -> Iterator[str]:
    label, names, functions = _parts(spec)
    for name in names:
        if not _NAME.fullmatch(name):
            yield f"{label} {name!r} has a name that cannot be typed"
    if hasattr(spec, "summary") and not spec.summary.strip():
        yield f"{label} {names[0]!r} has no summary"
    for function in functions:
        if not callable(function):
            yield f"{label} {names[0]!r} holds {type(function).__name__} where a function is due"
    if isinstance(spec, RuntimeSpec):
        for control in sorted(set(spec.claims) - set(CONTROLS)):
            yield f"runtime {spec.name!r} claims {control!r}, which is no control"
    if isinstance(spec, ProviderSpec):
        for name in sorted({*spec.secret_env} - {*spec.required_env, *spec.optional_env}):
            yield f"provider {spec.name!r} calls {name} a secret and does not ask for it"


def _parts(spec: object) -> tuple[str, tuple[str, ...], tuple[object, ...]]:
    """What a descriptor is, its names, and the functions in it."""
    match spec:
        case RuntimeSpec():
            return "runtime", (spec.name, *spec.aliases), (spec.factory,)
        case ProviderSpec():
            return "provider", (spec.name,), (spec.factory,)
        case TransportSpec():
            return "transport", (spec.type,), (spec.factory,)
        case StorageSpec():
            return "storage", (spec.scheme,), (spec.factory,)
        case EventSinkSpec():
            return "event sink", (spec.name,), (spec.factory,)
        case SettingsSpec():
            return "settings", (spec.name,), (spec.parse,)
        case MiddlewareSpec():
            return "middleware", (spec.name,), (spec.call,)
        case _:
            return type(spec).__name__, (), ()
