"""One skill at the gate: its rules, which of them hold now, what it has used, and its part of the record."""

from __future__ import annotations

import threading
from time import monotonic
from typing import NamedTuple

from perstack_proxy import budgets, rules
from perstack_proxy.audit import Audit, AuditValue
from perstack_proxy.budgets import BudgetSpent, Ledger
from perstack_proxy.control import ControlError, Grant
from perstack_proxy.dialer import Dialer
from perstack_proxy.relay import Bounds, Ended
from perstack_proxy.rules import SkillRules, Verdict
from perstack_proxy.sanitise import sanitise_line

#: Denials that a skill can repeat without end. At most one of them is recorded each second, with how many there were.
_REPEATED = frozenset({budgets.REQUESTS, budgets.CONNECTIONS})
_REPEATED_SECONDS = 1.0


class Denied(Exception):
    """The client gets no tunnel.

    Attributes:
        verdict: Why.
        status: The HTTP status to answer with.
        alert: Description of the TLS alert to answer with, once a tunnel is open.
    """

    def __init__(self, verdict: Verdict, *, status: int = 403, alert: int = 0) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict
        self.status = status
        self.alert = alert


class Request(NamedTuple):
    """What a client asked for; empty and 0 as long as that could not be read."""

    host: str = ""
    port: int = 0


class HostMeter:
    """The bytes of one host, as a tunnel's meter."""

    __slots__ = ("_host", "_ledger")

    def __init__(self, ledger: Ledger, host: str) -> None:
        self._ledger = ledger
        self._host = host

    def left(self, *, up: bool) -> int:
        """How many more bytes may pass in this direction."""
        return self._ledger.left(self._host, up=up)

    def spend(self, count: int, *, up: bool) -> None:
        """So many bytes have been taken to pass."""
        self._ledger.spend(self._host, count, up=up)


class Skill:
    """Every method may be called from any thread."""

    def __init__(self, skill: SkillRules, *, audit: Audit, dialer: Dialer) -> None:
        self.rules = skill
        self.dialer = dialer
        self.ledger = Ledger(skill.budgets)
        self._audit = audit
        self._lock = threading.Lock()
        self._active = frozenset(str(rule.pattern) for rule in skill.rules if rule.active)
        self._calls: dict[str, str] = {}
        self._repeated = 0
        self._repeated_at = -_REPEATED_SECONDS

    def admit(self, request: Request) -> Verdict:
        """The verdict that lets the request pass; the ledger has it from now on.

        Raises:
            Denied: By name, port or budget.
        """
        verdict = rules.decide(self.rules, request.host, request.port, active=self._active)
        if not verdict.allowed:
            raise Denied(verdict)
        try:
            self.ledger.open(request.host, wildcard=verdict.rule.startswith("*."))
        except BudgetSpent as error:
            raise Denied(verdict._replace(code=error.code, reason=str(error)), status=429) from None
        return verdict

    def holds(self, pattern: str) -> bool:
        """Whether the entry is switched on."""
        return pattern in self._active

    def switch(self, grant: Grant) -> None:
        """An existing entry is on or off.

        Raises:
            ControlError: The policy has no such entry; nothing is added.
        """
        if grant.pattern not in {str(rule.pattern) for rule in self.rules.rules}:
            raise ControlError(f"the policy has no entry {grant.pattern!r} for this skill")
        with self._lock:
            self._calls[grant.pattern] = grant.call if grant.active else ""
            self._active = self._active | {grant.pattern} if grant.active else self._active - {grant.pattern}
        self._audit.line("grant", skill=self.rules.name, rule=grant.pattern, active=grant.active, call=grant.call)

    def bounds(self, host: str) -> Bounds:
        """What ends a tunnel to the host."""
        limits = self.rules.budgets
        return Bounds(HostMeter(self.ledger, host), limits.idle_seconds, limits.tunnel_seconds)

    def record_open(self, request: Request, verdict: Verdict, *, address: str, via: str) -> int:
        """The line is written; its number names the tunnel.

        Raises:
            AuditLost: It is not.
        """
        call = self._calls.get(verdict.rule, "")
        fields = self._fields(request, verdict)
        return self._audit.line("open", **fields, address=address, via=via, **({"call": call} if call else {}))

    def record_deny(self, request: Request, verdict: Verdict, *, opened: int | None = None) -> None:
        """The line is written, or counted into a later one.

        Raises:
            AuditLost: It is not.
        """
        suppressed = 0
        if verdict.code in _REPEATED:
            with self._lock:
                if monotonic() - self._repeated_at < _REPEATED_SECONDS:
                    self._repeated += 1
                    return
                suppressed, self._repeated, self._repeated_at = self._repeated, 0, monotonic()
        fields = self._fields(request, verdict)
        fields["reason"] = sanitise_line(verdict.reason)
        if opened is not None:
            fields["opened"] = opened
        if suppressed:
            fields["suppressed"] = suppressed
        self._audit.line("deny", **fields)

    def record_close(self, request: Request, ended: Ended, *, opened: int, seconds: float) -> None:
        """The line is written.

        Raises:
            AuditLost: It is not.
        """
        self._audit.line(
            "close",
            skill=self.rules.name,
            host=request.host,
            port=request.port,
            opened=opened,
            reason=ended.reason,
            bytesUp=ended.up,
            bytesDown=ended.down,
            seconds=round(seconds, 3),
        )

    def _fields(self, request: Request, verdict: Verdict) -> dict[str, AuditValue]:
        return {
            "skill": self.rules.name,
            "host": request.host,
            "port": request.port,
            "verdict": verdict.code,
            "rule": verdict.rule,
            "origin": verdict.origin,
        }
