"""Which plugins may be imported, decided from metadata and settings alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from perstack.errors import UsageError
from perstack.plugins.compatibility import incompatibility
from perstack.plugins.discovery import Candidate
from perstack.plugins.records import BUILT_IN_PLUGIN, PluginRecord, PluginSelection, Status


def screen(
    candidates: Iterable[Candidate], selection: PluginSelection, *, core_version: str
) -> tuple[PluginRecord, ...]:
    """A record of each candidate: ``installed`` if it may be imported, else why not.

    Args:
        candidates: Installed plugins.
        selection: Which of them are wanted.
        core_version: The version of core that plugins have to fit.

    Raises:
        UsageError: The command line leaves out a plugin that is not installed.
    """
    candidates = tuple(candidates)
    _check_installed(selection.left_out, {candidate.name for candidate in candidates})
    taken = Counter(candidate.name for candidate in candidates)
    records = []
    for candidate in candidates:
        status, cause = _verdict(candidate, selection, core_version)
        if status is Status.INSTALLED and taken[candidate.name] > 1:
            others = [other for other in candidates if other.name == candidate.name and other is not candidate]
            names = " and ".join(f"{other.distribution} {other.version}" for other in others)
            status, cause = Status.FAILED, f"{names} has the same plugin name; uninstall one of them"
        records.append(
            PluginRecord(
                name=candidate.name,
                distribution=candidate.distribution,
                version=candidate.version,
                module=candidate.module,
                summary=candidate.summary,
                status=status,
                cause=cause,
            )
        )
    return tuple(records)


def _check_installed(named: Collection[str], installed: Collection[str]) -> None:
    for name in sorted(set(named) - set(installed)):
        close = get_close_matches(name, sorted(installed), n=1)
        hint = f"Did you mean -p no:{close[0]}?" if close else "See: perstack plugins list"
        raise UsageError(f"-p no:{name} leaves out a plugin that is not installed.", hint=hint)


def _verdict(candidate: Candidate, selection: PluginSelection, core_version: str) -> tuple[Status, str]:
    if candidate.name in selection.block:
        return Status.BLOCKED, "it is blocked by -p or by a [plugins] table"
    if selection.allow is not None and candidate.name not in selection.allow:
        return Status.NOT_ALLOWED, "the user's list of allowed plugins does not name it"
    if candidate.name == BUILT_IN_PLUGIN:
        return Status.FAILED, f"the name {BUILT_IN_PLUGIN!r} belongs to perstack itself"
    cause = incompatibility(candidate.requires, core_version=core_version)
    if cause:
        return Status.INCOMPATIBLE, cause
    if not all(part.isidentifier() for part in candidate.module.split(".")):
        return Status.FAILED, f"its entry point must name a module, not {candidate.module!r}"
    return Status.INSTALLED, ""
