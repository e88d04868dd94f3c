"""What core tells the gate of egress: the decided policy. What it learns from it is `perstack.sandbox.audit_trail`.

The gate itself is `perstack_proxy`; a runtime starts it beside its sandboxes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence

from perstack.messages import JsonObject
from perstack.skill_policy import SkillPolicy


def identity(policy: SkillPolicy) -> str:
    """What the gate calls a skill. A slash in an Expert's key does not matter: the pair is unique in a run."""
    return f"{policy.expert}/{policy.skill}"


def gate_policy(
    policies: Sequence[SkillPolicy],
    *,
    socket: Callable[[SkillPolicy], str],
    uids: Collection[int] = (),
    key: Callable[[SkillPolicy], str] = lambda _: "",
    parent: str | None = None,
    budgets: JsonObject | None = None,
) -> bytes:
    """The first line of the gate's control channel. A skill without domains has no socket, so it has no entry.

    Args:
        policies: The skills of the whole closure of delegates.
        socket: Absolute path of each skill's unix socket, as the gate sees it.
        uids: Users that may connect; empty means the gate's own.
        key: What the port of each skill's sandbox is given to the gate with; empty where none is.
        parent: URL of the proxy that leads out of this network, with its password. It resolves the names, so a runtime
            that sets it does not claim `private-addresses`.
        budgets: Of each skill, in the control channel's form; None are the gate's own.
    """
    skills = [
        {
            "name": identity(policy),
            "expert": policy.expert,
            "skill": policy.skill,
            "socket": socket(policy),
            "rules": [{"pattern": grant.pattern, "origin": str(grant.origin)} for grant in policy.egress],
            "uids": sorted(uids),
            "key": key(policy),
            "budgets": budgets or {},
        }
        for policy in policies
        if policy.egress
    ]
    way = {} if parent is None else {"parent": parent}
    return json.dumps({"type": "policy", "version": 1, **way, "skills": skills}).encode() + b"\n"
