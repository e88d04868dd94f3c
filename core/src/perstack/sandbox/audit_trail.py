"""The gate's record as events: every decision, the end of every tunnel, and what is missing of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from perstack_proxy.sanitise import sanitise_line

from perstack.events import ProxyAccess
from perstack.ids import new_id
from perstack.sandbox.egress import identity

if TYPE_CHECKING:
    from perstack.messages import JsonObject
    from perstack.skill_policy import SkillPolicy
    from perstack.specs import Notify


Action = Literal["allowed", "blocked", "closed"]
ACTIONS: dict[str, Action] = {"open": "allowed", "deny": "blocked", "close": "closed"}
"""What the lines of the gate's record that tell of connections say, by their event."""


class AuditTrail:
    """Reads the lines of one gate in their order.

    Args:
        policies: The skills that the gate serves.
        notify: Gets a `ProxyAccess` for each decision and for each tunnel that ended.
        problem: Told in words when lines are missing or are none of the gate's, and when Squid had to be started again.
    """

    def __init__(
        self,
        policies: Iterable[SkillPolicy],
        *,
        job_id: str,
        run_id: str,
        notify: Notify,
        problem: Callable[[str], None],
    ) -> None:
        self._skills = {identity(policy): policy for policy in policies}
        self._job_id = job_id
        self._run_id = run_id
        self._notify = notify
        self._problem = problem
        self._newest = 0

    def take(self, line: bytes) -> None:
        """Report what the line says. A line that cannot be read is reported as such."""
        try:
            record = json.loads(line)
            sequence, event = record["seq"], record["event"]
            if sequence != self._newest + 1:
                self._problem(f"the egress record has a gap: {sequence} came after {self._newest}")
            self._newest = int(sequence)
            if event in ACTIONS:
                self._access(record, ACTIONS[event])
            elif event == "squid-ended":
                self._problem(f"Squid ended and is started again: {record.get('message', '')}")
        except (KeyError, TypeError, ValueError, AttributeError):
            self._problem("a line of the egress record could not be read")

    def _access(self, record: JsonObject, action: Action) -> None:
        policy = self._skills[str(record["skill"])]
        more = _number(record, "suppressed")
        self._notify(
            ProxyAccess(
                id=new_id(),
                timestamp=time.time_ns() // 1_000_000,
                job_id=self._job_id,
                run_id=self._run_id,
                action=action,
                domain=_text(record, "host"),
                port=_number(record, "port"),
                skill_name=policy.skill,
                expert_key=policy.expert,
                reason=_text(record, "reason") + (f", and {more} more like it" if more else ""),
                code=_text(record, "verdict"),
                rule=_text(record, "rule"),
                address=_text(record, "address"),
                sequence=self._newest,
                opened=_number(record, "opened") if "opened" in record else None,
                bytes_up=_number(record, "bytesUp"),
                bytes_down=_number(record, "bytesDown"),
            )
        )


def _text(record: JsonObject, key: str) -> str:
    return sanitise_line(str(record.get(key, "")))


def _number(record: JsonObject, key: str) -> int:
    value = record.get(key, 0)
    return value if isinstance(value, int) else 0
