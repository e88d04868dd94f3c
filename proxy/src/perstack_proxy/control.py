"""What the gate is told over its stdin: the decided policy once, then grants that switch existing entries on and off.

Both are JSON lines. An unknown key, a wrong type or a pattern that is none refuses the whole line: a policy that is
half understood is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import NamedTuple

from perstack_proxy.handover import KEY_BYTES
from perstack_proxy.parent import Parent, ParentError, parse_parent
from perstack_proxy.patterns import PatternError, parse
from perstack_proxy.rules import Budget, Budgets, Rule, SkillRules


class ControlError(ValueError):
    """A line that is refused; the text names the place in it."""


class Listener(NamedTuple):
    """One skill and where it is listened to.

    Attributes:
        rules: What the skill may reach.
        socket: Absolute path of its unix socket.
        uids: Users that may connect; empty means the gate's own.
        key: What a port that is given to the gate has to come with; empty means that none is taken.
    """

    rules: SkillRules
    socket: str
    uids: frozenset[int] = frozenset()
    key: str = ""


class Policy(NamedTuple):
    """What a gate serves.

    Attributes:
        listeners: Every skill.
        parent: The proxy that leads out of this network; None connects directly.
    """

    listeners: tuple[Listener, ...] = ()
    parent: Parent | None = None


class Grant(NamedTuple):
    """An existing entry is switched.

    Attributes:
        skill: Identity of the skill.
        pattern: The entry, as it stands in the policy.
        active: On or off. Off closes the tunnels that it opened.
        call: Id of the tool call that it is for, kept in the audit; empty for none.
    """

    skill: str
    pattern: str
    active: bool
    call: str = ""


def read_policy(line: bytes) -> Policy:
    """The decided policy of every skill, and the way out.

    Raises:
        ControlError: Something in it is not understood.
    """
    table = _table(_json(line), "the policy", required={"type", "version", "skills"}, optional={"parent"})
    if table["type"] != "policy" or table["version"] != 1:
        raise ControlError("the first line is not a policy of version 1")
    listeners = tuple(_listener(item, f"skills[{at}]") for at, item in enumerate(_list(table["skills"], "skills")))
    for what, values in (
        ("name", [one.rules.name for one in listeners]),
        ("socket", [one.socket for one in listeners]),
    ):
        if len(set(values)) < len(values):
            raise ControlError(f"two skills have the same {what}")
    return Policy(listeners, _parent(table["parent"]) if "parent" in table else None)


def read_grant(line: bytes) -> Grant:
    """The grant on a line after the policy.

    Raises:
        ControlError: It is none.
    """
    table = _table(_json(line), "the grant", required={"type", "skill", "pattern", "active"}, optional={"call"})
    if table["type"] != "grant":
        raise ControlError("only grants follow the policy")
    if not isinstance(table["active"], bool):
        raise ControlError("active is not true or false")
    return Grant(
        skill=_text(table["skill"], "skill"),
        pattern=_text(table["pattern"], "pattern"),
        active=table["active"],
        call=_text(table.get("call", ""), "call"),
    )


def _parent(value: object) -> Parent:
    try:
        return parse_parent(_text(value, "parent"))
    except ParentError as error:
        raise ControlError(str(error)) from None


def _listener(value: object, place: str) -> Listener:
    optional = {"expert", "skill", "rules", "budgets", "uids", "key"}
    table = _table(value, place, required={"name", "socket"}, optional=optional)
    rules = tuple(_rule(item, f"{place}.rules[{at}]") for at, item in enumerate(_list(table.get("rules", []), place)))
    path = _text(table["socket"], f"{place}.socket")
    if not path.startswith("/") or "\0" in path:
        raise ControlError(f"{place}.socket is not an absolute path")
    name = _text(table["name"], f"{place}.name")
    if not name:
        raise ControlError(f"{place}.name is empty")
    skill = SkillRules(
        name=name,
        rules=rules,
        expert=_text(table.get("expert", ""), f"{place}.expert"),
        skill=_text(table.get("skill", ""), f"{place}.skill"),
        budgets=_budgets(table.get("budgets", {}), f"{place}.budgets"),
    )
    uids = frozenset(int(_number(uid, f"{place}.uids", whole=True)) for uid in _list(table.get("uids", []), place))
    key = _text(table.get("key", ""), f"{place}.key")
    if key and not re.fullmatch(f"[0-9a-f]{{{KEY_BYTES}}}", key):
        raise ControlError(f"{place}.key is not {KEY_BYTES} hexadecimal digits")
    return Listener(skill, path, uids, key)


def _rule(value: object, place: str) -> Rule:
    table = _table(value, place, required={"pattern"}, optional={"origin", "active"})
    active = table.get("active", True)
    if not isinstance(active, bool):
        raise ControlError(f"{place}.active is not true or false")
    try:
        pattern = parse(_text(table["pattern"], f"{place}.pattern"), punycode=True)
    except PatternError as error:
        raise ControlError(f"{place}: {error}") from None
    return Rule(pattern, _text(table.get("origin", ""), f"{place}.origin"), active)


def _budgets(value: object, place: str) -> Budgets:
    table = _table(value, place, optional=set(Budgets._fields))
    default = Budgets()

    def number(key: str, otherwise: float, *, whole: bool) -> float:
        return _number(table.get(key, otherwise), f"{place}.{key}", whole=whole)

    return Budgets(
        skill=_budget(table.get("skill", {}), f"{place}.skill", default.skill),
        host=_budget(table.get("host", {}), f"{place}.host", default.host),
        wildcard_names=int(number("wildcard_names", default.wildcard_names, whole=True)),
        wildcard_depth=int(number("wildcard_depth", default.wildcard_depth, whole=True)),
        idle_seconds=number("idle_seconds", default.idle_seconds, whole=False),
        tunnel_seconds=number("tunnel_seconds", default.tunnel_seconds, whole=False),
    )


def _budget(value: object, place: str, default: Budget) -> Budget:
    table = _table(value, place, optional=set(Budget._fields))
    return default._replace(**{key: int(_number(found, f"{place}.{key}", whole=True)) for key, found in table.items()})


def _json(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("the line is not JSON") from None


def _table(
    value: object, place: str, *, required: Collection[str] = (), optional: Collection[str] = ()
) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ControlError(f"{place} is not an object")
    if missing := set(required) - value.keys():
        raise ControlError(f"{place} has no {min(missing)!r}")
    if unknown := value.keys() - set(required) - set(optional):
        raise ControlError(f"{place} has the unknown key {min(unknown)!r}")
    return value


def _list(value: object, place: str) -> list[object]:
    if not isinstance(value, list):
        raise ControlError(f"{place} is not a list")
    return value


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise ControlError(f"{place} is not a text")
    return value


def _number(value: object, place: str, *, whole: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not 0 <= value < 2**62:
        raise ControlError(f"{place} is not a number of the right kind")
    return value
