"""Rules of the guard: which tool calls are denied, which are asked about, and which variables no skill gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Calls that match every given pattern; patterns are globs, and case matters.

    Attributes:
        reason: What the person, and the model, is told.
        skill: Pattern of the skill's name.
        tool: Pattern of the tool's name.
        arguments: Patterns by argument name; an argument that is no text is matched as JSON.
    """

    reason: str
    skill: str = "*"
    tool: str = "*"
    arguments: Mapping[str, str] = field(default_factory=dict)

    def matches(self, skill: str, tool: str, arguments: Mapping[str, object]) -> bool:
        """Whether a call of `tool` of `skill` with these arguments is meant."""
        return (
            fnmatchcase(skill, self.skill)
            and fnmatchcase(tool, self.tool)
            and all(
                name in arguments and fnmatchcase(_text(arguments[name]), pattern)
                for name, pattern in self.arguments.items()
            )
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardSettings:
    """The table ``[plugins.example-guard]``."""

    deny: tuple[Rule, ...] = ()
    ask: tuple[Rule, ...] = ()
    deny_env: tuple[str, ...] = ()

    @classmethod
    def parse(cls, table: Mapping[str, object]) -> GuardSettings:
        """The settings in `table`.

        Raises:
            ValueError: A key is unknown or has a value of another type; names the key.
        """
        _only(table, {"deny", "ask", "denyEnv"}, "")
        return cls(
            deny=_rules(table, "deny"),
            ask=_rules(table, "ask"),
            deny_env=tuple(_string(name, "denyEnv") for name in _list(table.get("denyEnv", []), "denyEnv")),
        )


def _rules(table: Mapping[str, object], key: Literal["deny", "ask"]) -> tuple[Rule, ...]:
    rules = []
    for index, entry in enumerate(_list(table.get(key, []), key)):
        where = f"{key}[{index}]"
        values = _table(entry, where)
        _only(values, {"skill", "tool", "arguments", "reason"}, f"{where}.")
        patterns = _table(values.get("arguments", {}), f"{where}.arguments")
        rules.append(
            Rule(
                reason=_string(values.get("reason", f"The rule {where} of example-guard."), f"{where}.reason"),
                skill=_string(values.get("skill", "*"), f"{where}.skill"),
                tool=_string(values.get("tool", "*"), f"{where}.tool"),
                arguments={name: _string(value, f"{where}.arguments.{name}") for name, value in patterns.items()},
            )
        )
    return tuple(rules)


def _only(table: Mapping[str, object], known: set[str], where: str) -> None:
    for key in table.keys() - known:
        raise ValueError(f"{where}{key} is unknown; known are {', '.join(sorted(known))}")


def _table(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a table")
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list")
    return value


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} must be a string")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
