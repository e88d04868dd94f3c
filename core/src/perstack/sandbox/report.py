"""The events of one skill: its way up, what it says, and its end."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, TypedDict

from perstack_proxy.sanitise import sanitise_line

from perstack.events import (
    ProxyAccess,
    SkillConnected,
    SkillDisconnected,
    SkillNotice,
    SkillStarting,
    SkillStderr,
    SkillViolation,
)
from perstack.ids import new_id
from perstack.sandbox.throttle import Throttle

if TYPE_CHECKING:
    from perstack.protocols import Access, Sandbox, SkillSession
    from perstack.skill_policy import SkillPolicy
    from perstack.specs import Notify


LAST_WORDS = 3
"""Lines of standard error that an error repeats: the reason is nearly always among them."""


class _Stamp(TypedDict):
    id: str
    timestamp: int
    job_id: str
    run_id: str
    skill_name: str


class SkillReport:
    """Reports one skill of one run, with the time that each stage took."""

    def __init__(self, policy: SkillPolicy, *, job_id: str, run_id: str, notify: Notify) -> None:
        self._policy = policy
        self._job_id = job_id
        self._run_id = run_id
        self._notify = notify
        self._started = self._spawned = time.monotonic()
        self._announced = False
        self._notices = Throttle(lambda text: notify(SkillNotice(**self._stamp(), message=text)))
        self.last_words: deque[str] = deque(maxlen=LAST_WORDS)
        """The last lines of standard error."""

    def starting(self) -> None:
        """A sandbox is about to be opened."""
        command, *args = self._policy.argv or (self._policy.endpoint,)
        self._announced = True
        self._notify(
            SkillStarting(**self._stamp(), expert_key=self._policy.expert, command=command, args=tuple(args)),
        )

    def spawned(self) -> None:
        """The process runs; the handshake comes next."""
        self._spawned = time.monotonic()

    def connected(self, session: SkillSession, sandbox: Sandbox | None) -> None:
        """The server has listed its tools."""
        now = time.monotonic()
        self._notify(
            SkillConnected(
                **self._stamp(),
                expert_key=self._policy.expert,
                server_name=session.server_name,
                server_version=session.server_version,
                tools=tuple(sanitise_line(tool.name) for tool in session.tools),
                enforced=tuple(sorted(sandbox.enforced)) if sandbox else (),
                spawn_duration_ms=round((self._spawned - self._started) * 1000),
                handshake_duration_ms=round((now - self._spawned) * 1000),
                total_duration_ms=round((now - self._started) * 1000),
            )
        )

    def stderr(self, line: str) -> None:
        """The skill wrote a line to standard error."""
        self.last_words.append(line)
        self._notify(SkillStderr(**self._stamp(), message=line))

    def notice(self, text: str) -> None:
        """The server says something beside its answers."""
        self._notices.pass_on(text)

    def violation(self, text: str) -> None:
        """The server broke the protocol."""
        self._notify(SkillViolation(**self._stamp(), message=text))

    def access(self, access: Access) -> None:
        """Perstack connected to the skill's server, or refused to."""
        self._notify(
            ProxyAccess(
                **self._stamp(),
                action="allowed" if access.allowed else "blocked",
                domain=access.domain,
                port=access.port,
                reason=access.reason,
            )
        )

    def disconnected(self, reason: str) -> None:
        """The sandbox is closed; said only of a skill whose start was reported."""
        self._notices.close()
        if self._announced:
            self._notify(SkillDisconnected(**self._stamp(), reason=reason))

    def _stamp(self) -> _Stamp:
        return {
            "id": new_id(),
            "timestamp": time.time_ns() // 1_000_000,
            "job_id": self._job_id,
            "run_id": self._run_id,
            "skill_name": self._policy.skill,
        }
