"""What a skill may reach: rules in, a verdict out. Nothing here resolves, connects or remembers.

The name decides first, so that a name without a rule is never looked up. Everything that is not allowed is denied, with
a reason that a person and a model can act on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import NamedTuple

from perstack_proxy.limits import GIB, MIB
from perstack_proxy.patterns import DomainPattern, PatternError, parse

PORT = 443

ALLOWED = "allowed"
HOST = "host"
GRANT = "grant"
PORT_DENIED = "port"
DEPTH = "wildcard-depth"

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Budget(NamedTuple):
    """How much may be used at one level, a skill or one host of a skill.

    Attributes:
        connections: Most connections at once.
        requests_per_minute: Most requests in any minute.
        bytes_up: Most bytes towards hosts, over the gate's life.
        bytes_down: Most bytes from hosts, over the gate's life.
    """

    connections: int
    requests_per_minute: int
    bytes_up: int
    bytes_down: int


class Budgets(NamedTuple):
    """Every bound of one skill. The defaults let package managers and `git` work, and stop a copy of a disk.

    Attributes:
        skill: Of all hosts together.
        host: Of each host.
        wildcard_names: Most different names below wildcards, because each name that is looked up can carry data.
        wildcard_depth: Most labels in place of a `*`.
        idle_seconds: Longest silence of a tunnel.
        tunnel_seconds: Longest life of a tunnel.
    """

    skill: Budget = Budget(256, 2400, 2 * GIB, 16 * GIB)
    host: Budget = Budget(128, 1200, 256 * MIB, 8 * GIB)
    wildcard_names: int = 100
    wildcard_depth: int = 3
    idle_seconds: float = 300.0
    tunnel_seconds: float = 4 * 3600.0


class Rule(NamedTuple):
    """One entry of `allowedDomains`.

    Attributes:
        pattern: What it covers.
        origin: Where it stands, such as `perstack.toml:12`.
        active: Whether it holds from the start; a grant switches it on and off.
    """

    pattern: DomainPattern
    origin: str = ""
    active: bool = True


class SkillRules(NamedTuple):
    """What one skill may reach.

    Attributes:
        name: Identity in audit lines, unique in a gate.
        expert: Key of the Expert, for the change that a denial proposes; empty proposes none.
        skill: Name of the skill in the Expert's table.
        rules: Its entries; an empty list allows nothing.
        budgets: Its bounds.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    expert: str = ""
    skill: str = ""
    budgets: Budgets = Budgets()


class Verdict(NamedTuple):
    """Whether a connection may be opened, and why.

    Attributes:
        code: `ALLOWED`, or what is wrong.
        reason: One sentence.
        rule: The entry that decided, as text; empty when none covers the host.
        origin: Where that entry stands.
        change: The smallest change of the TOML file that would allow it, or None when no change would.
    """

    code: str
    reason: str
    rule: str = ""
    origin: str = ""
    change: str | None = None

    @property
    def allowed(self) -> bool:
        """Whether the connection may be opened."""
        return self.code == ALLOWED


def decide(skill: SkillRules, host: str, port: int, *, active: Collection[str] | None = None) -> Verdict:
    """Whether the skill may open a connection, as far as name and port can tell.

    Args:
        skill: Its rules.
        host: Host name in its one spelling.
        port: The port that was asked for.
        active: Patterns that hold now, as text; None means those that hold from the start.
    """
    if active is None:
        active = {str(rule.pattern) for rule in skill.rules if rule.active}
    covering = [rule for rule in skill.rules if rule.pattern.matches(host)]
    holding = [rule for rule in covering if str(rule.pattern) in active]
    if not covering:
        return Verdict(HOST, f"{host!r} is not in allowedDomains", change=_change(skill, host))
    # An exact entry explains more than a wildcard, and has no depth.
    rule = min(holding or covering, key=lambda rule: (rule.pattern.wildcard, -len(rule.pattern.host)))
    found = str(rule.pattern)
    if not holding:
        return Verdict(GRANT, f"{host!r} is allowed only while a grant for it holds", found, rule.origin)
    if port != PORT:
        return Verdict(PORT_DENIED, f"port {port} is closed; only HTTPS on port {PORT} is open", found, rule.origin)
    if rule.pattern.wildcard and host.count(".") - rule.pattern.host.count(".") > skill.budgets.wildcard_depth:
        reason = f"{host!r} has more than {skill.budgets.wildcard_depth} labels in place of the '*'"
        return Verdict(DEPTH, reason, found, rule.origin, _change(skill, host))
    return Verdict(ALLOWED, "", found, rule.origin)


def _change(skill: SkillRules, host: str) -> str | None:
    """The table and its list with one more entry; None when the entry would be refused."""
    try:
        pattern = parse(host)
    except PatternError:
        return None
    if not skill.expert:
        return None
    entries = ", ".join(json.dumps(text) for text in [*(str(rule.pattern) for rule in skill.rules), str(pattern)])
    return f"[experts.{_key(skill.expert)}.skills.{_key(skill.skill)}]\nallowedDomains = [{entries}]\n"


def _key(name: str) -> str:
    if _BARE_KEY.fullmatch(name):
        return name
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
