"""The attacks on a sandbox's limits, judged. A large limit is read from the kernel, and not filled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from perstack_proxy.limits import MIB

from perstack.proving.attacks import Attack, number

if TYPE_CHECKING:
    from perstack.messages import JsonObject, JsonValue
    from perstack.proving.attacks import Case, Judgement

MOST_FILLED = 256 * MIB
MOST_THREADS = 1024
BURN_SECONDS = 0.5
MOST_BURNERS = 16
NO_LIMIT = 2**62
"""Version 1 of control groups shows a limit that is not set as a number near 2**63."""
TOLERANCE = 1.5
"""How much more than its processors a sandbox may seem to use in half a second."""


def _memory(case: Case) -> JsonObject:
    limit = case.policy.limits.memory
    return {"limit": limit, "fill": not case.brief and limit <= MOST_FILLED}


def _judge_memory(case: Case, report: JsonObject) -> Judgement:
    wanted = case.policy.limits.memory
    limit, swap, both = (_limit(report[name]) for name in ("limit", "swap", "memory_and_swap"))
    yield "limits.memory", *_at_most(limit, wanted, "MiB", unit=MIB)
    if "used" in report:
        used = number(report["used"])
        held = report["ended"] is True and used * MIB <= wanted
        told = "was ended" if report["ended"] is True else "was not ended"
        yield "limits.memory", held, f"a process {told} after {used} MiB"
    if swap is not None:
        yield "limits.swap", swap == 0, f"the kernel allows {_size(swap)} of swap"
    elif both is not None and limit is not None:
        yield "limits.swap", both <= limit and math.isfinite(both), f"the kernel allows {_size(both)} with swap"
    elif report["host_swap"] == "0":
        yield "limits.swap", True, "this machine has no swap"
    else:
        yield "limits.swap", None, "the kernel does not show a limit for swap"


def _processors(case: Case) -> JsonObject:
    burners = 0 if case.brief else min(MOST_BURNERS, 2 * math.ceil(case.policy.limits.cpus))
    return {"burners": burners, "seconds": BURN_SECONDS}


def _judge_processors(case: Case, report: JsonObject) -> Judgement:
    wanted = case.policy.limits.cpus
    words = f"{report['quota']} {report['period']}".split()
    used = report["used"]
    if not isinstance(used, int | float):
        raise TypeError("used")
    if used > wanted * TOLERANCE:
        yield "limits.cpu", False, f"it used {used:.1f} processor cores"
    if not words:
        yield "limits.cpu", None, "the kernel does not show a limit"
    elif words[0] in {"max", "-1"}:
        yield "limits.cpu", False, "the kernel sets no limit"
    else:
        cores = int(words[0]) / int(words[1])
        yield "limits.cpu", cores <= wanted + 0.001, f"the kernel allows {cores:g} of {wanted:g} processor cores"


def _threads(case: Case) -> JsonObject:
    pids = case.policy.limits.pids
    return {"most": 0 if case.brief or pids > MOST_THREADS else pids + 8}


def _judge_threads(case: Case, report: JsonObject) -> Judgement:
    wanted, made = case.policy.limits.pids, number(report["started"])
    if report["refused"]:
        yield "limits.pids", made <= wanted, f"the kernel refused a thread after {made}"
    elif made > wanted:
        yield "limits.pids", False, f"it had {made} threads at once"
    yield "limits.pids", *_at_most(_limit(report["limit"]), wanted, "processes")


def _at_most(limit: float | None, wanted: int, what: str, *, unit: int = 1) -> tuple[bool | None, str]:
    if limit is None:
        return None, "the kernel does not show a limit"
    if math.isinf(limit):
        return False, "the kernel sets no limit"
    return limit <= wanted, f"the kernel allows {int(limit) // unit} of {wanted // unit} {what}"


def _limit(value: JsonValue) -> float | None:
    """A limit in the kernel's words; None where it shows none, infinite where there is none."""
    text = str(value or "")
    if not text:
        return None
    if not text.isdecimal():
        return math.inf
    return math.inf if int(text) >= NO_LIMIT else int(text)


def _size(value: float) -> str:
    return "any amount" if math.isinf(value) else f"{int(value) // MIB} MiB"


ATTACKS = (
    Attack(name="processors", program="load", controls=("limits.cpu",), arguments=_processors, judge=_judge_processors),
    Attack(
        name="threads",
        program="load",
        controls=("limits.pids",),
        arguments=_threads,
        judge=_judge_threads,
        seconds=20.0,
    ),
    Attack(
        name="memory",
        program="load",
        controls=("limits.memory", "limits.swap"),
        arguments=_memory,
        judge=_judge_memory,
        seconds=20.0,
    ),
)
