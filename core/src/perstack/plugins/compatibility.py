"""Whether a plugin's metadata allows this version of core. Installers check once; later changes go past them.

`packaging` knows every form of a requirement and costs 60 ms to import, so the usual form (``perstack-core>=0.1,<0.2``)
is decided here and only the others by it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable

from perstack.plugins.discovery import normalise

CORE = "perstack-core"

_PLAIN = re.compile(r"(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+)*)")
_COMPARE: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}


def incompatibility(requires: Iterable[str], *, core_version: str) -> str:
    """Why a distribution with these ``Requires-Dist`` lines does not fit this core; empty when it does.

    One that does not say which core it needs is taken as it is.
    """
    for line in requires:
        name, rest = re.match(r"([\w.-]*)(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]  # it always matches
        if normalise(name) != CORE:
            continue
        fits = _plain_answer(rest, core_version)
        if fits is None:
            fits = _exact_answer(line, core_version)
        if not fits:
            return f"it needs {line}, and this is {CORE} {core_version}"
    return ""


def _plain_answer(specifiers: str, core_version: str) -> bool | None:
    """Whether the version fits; None when either side is more than numbers, dots and comparisons."""
    parts = [_PLAIN.fullmatch(part.strip()) for part in specifiers.strip().strip("()").split(",")]
    if not re.fullmatch(r"\d+(\.\d+)*", core_version):
        return None
    fits = True
    for part in parts:
        if part is None:
            return None
        fits = fits and _COMPARE[part[1]](_release(core_version), _release(part[2]))
    return fits


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(number) for number in version.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()  # 1.0 and 1.0.0 are one version
    return tuple(numbers)


def _exact_answer(line: str, core_version: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return False
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return True
    return requirement.specifier.contains(core_version, prereleases=True)
