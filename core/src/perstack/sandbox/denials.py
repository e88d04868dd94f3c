"""What was kept from a skill while it worked, for the results of its calls: few clients say why they got no answer."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import sanitise_line

from perstack.events import ProxyAccess

if TYPE_CHECKING:
    from perstack.events import Event
    from perstack.specs import Notify

KEPT = 3
"""Denials that one result tells of: the first ones are the reason for what followed."""
REMEMBERED = 100
"""Different denials of one skill that are told at all; the record has every one."""


class Denials:
    """Sees every event before `notify` does; a denial that was told once is not told again."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._told: dict[tuple[str, str], set[tuple[str, str]]] = {}
        self._waiting: dict[tuple[str, str], deque[str]] = {}

    def notify(self, event: Event) -> None:
        """Keep `event` if it is a denial, and pass it on."""
        if isinstance(event, ProxyAccess) and event.action == "blocked":
            self._keep(event)
        self._notify(event)

    def take(self, expert: str, skill: str) -> tuple[str, ...]:
        """One line for each denial of the skill since the last call of this."""
        waiting = self._waiting.pop((expert, skill), None)
        return tuple(waiting or ())

    def _keep(self, event: ProxyAccess) -> None:
        skill = (event.expert_key, event.skill_name)
        told = self._told.setdefault(skill, set())
        denial = (f"{event.domain}:{event.port}", event.code)
        waiting = self._waiting.setdefault(skill, deque())
        if denial in told or len(told) == REMEMBERED or len(waiting) == KEPT:
            return
        told.add(denial)
        place = f" to {denial[0]}" if event.domain else ""
        waiting.append(sanitise_line(f"perstack blocked a connection{place}: {event.reason}"))
