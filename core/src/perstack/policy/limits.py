"""What a skill may use up, and which controls a run requires."""

from __future__ import annotations

from collections.abc import Collection

from perstack.config import grammar
from perstack.config.models import PolicyTable
from perstack.config.skills import LimitsTable
from perstack.errors import Problem
from perstack.skill_policy import BUILT_IN, CONTROLS, Control, Limits, MountMode, Origin

DEFAULTS = Limits()
LOCAL_RUNTIME = "local"
OPTIONAL: frozenset[Control] = frozenset({"limits.swap", "limits.disk"})
"""Not every host lets an engine enforce them; a run says so and goes on."""


def decide_limits(asked: LimitsTable, most: LimitsTable, origin: Origin) -> tuple[Limits, tuple[Problem, ...]]:
    """The limits of one skill. More than the user's own limits, or than the defaults without such, is a problem."""
    highest = _filled(most, DEFAULTS)
    wanted = _filled(asked, Limits(memory=min(DEFAULTS.memory, highest.memory), origin=BUILT_IN))
    problems = [
        Problem(
            message=f"the skill asks for {key} = {getattr(asked, key)}, more than the {shown} that are allowed",
            where=origin.source,
            line=origin.line,
            hint="Ask for less, or raise it under [policy.limits] in your own settings.",
        )
        for key, shown in (
            ("memory", f"{highest.memory // 1024**2}MiB"),
            ("cpus", highest.cpus),
            ("pids", highest.pids),
        )
        if getattr(asked, key) is not None and getattr(wanted, key) > getattr(highest, key)
    ]
    own = any(value is not None for value in (asked.memory, asked.cpus, asked.pids))
    limits = Limits(
        memory=wanted.memory,
        memory_reserved=min(wanted.memory, DEFAULTS.memory_reserved),
        cpus=min(wanted.cpus, highest.cpus),
        pids=min(wanted.pids, highest.pids),
        origin=origin if own else BUILT_IN,
    )
    return limits, tuple(problems)


def required_controls(runtime: str, policy: PolicyTable, mode: MountMode) -> frozenset[Control]:
    """The controls without which a skill is not started.

    The local runtime is chosen by name and says what it does not enforce, so only `env` is asked of it, and whatever
    the policy names. Of every other runtime everything is asked. A workspace that a skill may not change needs a
    runtime that holds it, and nobody can go without that: whoever does not mind asks for ``rw``.
    """
    asked: Collection[Control] = {"env"} if runtime == LOCAL_RUNTIME else set(CONTROLS) - OPTIONAL
    implied: set[Control] = set() if mode == "rw" else {"filesystem"}
    return frozenset({*asked, *policy.require}.difference(policy.relax) | implied)


def _filled(table: LimitsTable, defaults: Limits) -> Limits:
    return Limits(
        memory=grammar.size_bytes(table.memory) if table.memory is not None else defaults.memory,
        cpus=table.cpus if table.cpus is not None else defaults.cpus,
        pids=table.pids if table.pids is not None else defaults.pids,
    )
