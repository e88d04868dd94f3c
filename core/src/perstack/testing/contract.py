"""The contract of a runtime, kept or not: every check as a verdict, and the controls that were proved."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import anyio

from perstack.errors import PerstackError, UsageError
from perstack.skill_policy import Control
from perstack.specs import RuntimeSpec
from perstack.testing.checks_runtime import CHECKS, CLAIMED
from perstack.testing.runtime_kit import runtime_kit

CHECK_SECONDS = 120.0
"""For one check; the first may have to build an image."""
BUILD_SECONDS = 1800.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one check of the contract found.

    Attributes:
        id: Names the check.
        sentence: What must hold.
        control: The control that it proves, or None.
        problem: What does not hold; empty when it does.
    """

    id: str
    sentence: str
    control: Control | None
    problem: str = ""


async def verdicts(spec: RuntimeSpec) -> AsyncIterator[Verdict]:
    """A verdict for each check that holds for a runtime with these claims, as they come.

    A runtime that does not work here fails ``preflight:says-what-to-do``, and nothing else is tried.

    Raises:
        UsageError: Python was told to leave assertions out, so no check would find anything.
    """
    if not __debug__:
        raise UsageError("Checks are made of assertions.", hint="Run Python without -O and PYTHONOPTIMIZE.")
    for name, check in CHECKS.items():
        control = CLAIMED.get(name)
        if control is not None and control not in spec.claims:
            continue
        problem = ""
        try:
            with anyio.fail_after(CHECK_SECONDS if control else BUILD_SECONDS), runtime_kit(spec) as kit:
                await check(kit)
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - a runtime may raise anything
            problem = _words(error)
        yield Verdict(id=name, sentence=(check.__doc__ or "").strip(), control=control, problem=problem)
        if problem and name == "preflight:says-what-to-do":
            return


def proved(found: Iterable[Verdict]) -> frozenset[Control]:
    """The controls that checks have shown, and that no check has shown not to hold."""
    controls = [(one.control, one.problem) for one in found if one.control is not None]
    return frozenset(control for control, _ in controls) - {control for control, problem in controls if problem}


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_words(one) for one in error.exceptions)
    if isinstance(error, PerstackError):
        return f"{error} {error.hint}".strip()
    line = traceback.extract_tb(error.__traceback__)[-1].line
    return f"{type(error).__name__}: {str(error) or line}"
