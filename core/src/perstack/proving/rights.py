"""The attacks on the rights of a sandbox's user, judged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from perstack.proving.attacks import Attack, listed, number, texts

if TYPE_CHECKING:
    from perstack.messages import JsonObject
    from perstack.proving.attacks import Case, Judgement

SETS = 5
"""Of capabilities, that Linux shows for a process."""
FILTER = "2"
"""What Linux shows of a process whose system calls are filtered."""


def _nothing(_: Case) -> JsonObject:
    return {}


def _judge_privileges(_: Case, report: JsonObject) -> Judgement:
    capabilities = report["capabilities"]
    if not isinstance(capabilities, dict):
        raise TypeError("capabilities")
    left = sorted(name for name, value in capabilities.items() if number(value))
    open_ways = [
        (bool(left), f"capabilities are left: {listed(left)}"),
        (report["no_new_privileges"] != "1", "a program may gain privileges"),
        (report["seccomp"] != FILTER, "system calls are not filtered"),
    ]
    found = [text for is_open, text in open_ways if is_open]
    if found:
        yield from (("capabilities", False, text) for text in found)
    elif len(capabilities) != SETS:
        yield "capabilities", None, "the kernel does not show every set of capabilities"
    else:
        yield "capabilities", True, "no capability and none to gain, and system calls are filtered"


def _judge_deeds(_: Case, report: JsonObject) -> Judgement:
    done, tried = texts(report, "done"), number(report["tried"])
    if done:
        yield "capabilities", False, f"it could {listed(done)}"
    else:
        yield "capabilities", tried > 0 or None, f"none of {tried} privileged deeds could be done"


def _judge_identity(_: Case, report: JsonObject) -> Judgement:
    users, groups = texts(report, "users"), texts(report, "groups")
    if "0" in users or "0" in groups:
        yield "user", False, f"it is in the superuser's place: users {listed(users)}, groups {listed(groups)}"
    elif report["became_root"] is not False:
        yield "user", False, "it became the superuser"
    else:
        yield "user", bool(users) or None, f"it is user {listed(users)} of group {listed(groups)}"


ATTACKS = (
    Attack(
        name="privileges", program="rights", controls=("capabilities",), arguments=_nothing, judge=_judge_privileges
    ),
    Attack(
        name="deeds",
        program="rights",
        controls=("capabilities",),
        arguments=_nothing,
        judge=_judge_deeds,
        free=lambda: False,
    ),
    Attack(
        name="identity",
        program="rights",
        controls=("user",),
        arguments=_nothing,
        judge=_judge_identity,
        free=lambda: os.getuid() == 0,
    ),
)
