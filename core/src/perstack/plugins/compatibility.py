"""Whether a plugin's metadata allows this version of core. Installers check once; later changes go past them."""

from __future__ import annotations

from collections.abc import Iterable

from perstack.plugins.discovery import normalise

CORE = "perstack-core"


def incompatibility(requires: Iterable[str], *, core_version: str) -> str:
    """Why a distribution with these ``Requires-Dist`` lines does not fit this core; empty when it does.

    One that does not say which core it needs is taken as it is.
    """
    for line in requires:
        if not normalise(line).startswith(CORE) or line == f"{CORE}=={core_version}":
            continue  # plugins of the same release pin it exactly; `packaging` costs 50 ms and is for all others
        cause = _refusal(line, core_version)
        if cause:
            return cause
    return ""


def _refusal(line: str, core_version: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return f"its metadata holds a requirement that cannot be read: {line!r}"
    if normalise(requirement.name) != CORE:
        return ""
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return ""
    if requirement.specifier.contains(core_version, prereleases=True):
        return ""
    return f"it needs {CORE} {requirement.specifier}, and this is {core_version}"
