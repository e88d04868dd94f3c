"""What is wrong with a configuration, in a person's words: each problem with its file, line, key and hint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from perstack.config import grammar, models, skills
from perstack.config.keylines import Path, dotted
from perstack.config.layers import Origins
from perstack.errors import Problem

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from perstack.messages import JsonValue
    from perstack.skill_policy import Origin

_TYPES = {
    "string_type": "a string",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "tuple_type": "a list",
    "invalid-json-value": "a value that JSON has",
}
_NAMES = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a table"}
_SHOWN_CHARACTERS = 60

_SKILLS: Mapping[str, type[BaseModel]] = {
    skill.kind: skill for skill in (skills.StdioSkill, skills.HttpSkill, skills.SseSkill, skills.InteractiveSkill)
}
_SKILL_DEPTH = 4  # experts, its key, skills, its name; the next part of pydantic's location is the type


def suggestion(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?``, or nothing."""
    close = get_close_matches(word, sorted(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else ""


def unknown_expert(key: str, known: Iterable[str], place: Origin) -> Problem:
    """There is no Expert of that key, which `place` names."""
    known = sorted(known)
    hint = suggestion(key, known) or (f"There are: {', '.join(known)}." if known else "It declares none.")
    if key.startswith("@") and key not in known:
        hint += " Experts of the hosted registry are not supported: declare it in this file."
    return Problem(message=f"there is no Expert {key!r}", where=place.source, line=place.line, hint=hint)


def unknown_delegates(experts: Mapping[str, JsonValue], origins: Origins) -> dict[str, tuple[Problem, ...]]:
    """By the key of an Expert, the delegates that it names and nobody declares. Its table may have other faults too."""
    found: dict[str, tuple[Problem, ...]] = {}
    for key, table in experts.items():
        named = table.get("delegates") if isinstance(table, dict) else None
        for position, delegate in enumerate(named if isinstance(named, list) else ()):
            if isinstance(delegate, str) and delegate not in experts and _is_expert_key(delegate):
                place = origins.at("experts", key, "delegates", position)
                found[key] = (*found.get(key, ()), unknown_expert(delegate, experts, place))
    return found


def _is_expert_key(text: str) -> bool:
    try:
        grammar.expert_key(text)
    except ValueError:
        return False  # which is a problem of its own
    return True


def problems_of(error: ValidationError, origins: Origins) -> tuple[dict[str, tuple[Problem, ...]], list[Problem]]:
    """Every problem that pydantic found, at most one for each key, in the order of lines: by Expert, and elsewhere."""
    found: dict[Path, Problem] = {}
    for details in error.errors(include_url=False):
        path = key_path(details["loc"])
        if path == ("model",) and details["type"] == "string_type" and isinstance(details["input"], list):
            continue  # the other alternative of a union: what is wrong with the list is an error of its own
        origin = origins.at(*path)
        message, hint = _sentence(details)
        problem = Problem(message=message, where=origin.source, line=origin.line, key=dotted(path), hint=hint)
        found.setdefault(path, problem)
    by_expert: dict[str, tuple[Problem, ...]] = {}
    elsewhere = []
    for path, problem in sorted(found.items(), key=lambda item: (item[1].where, item[1].line or 0)):
        if path[0] == "experts" and len(path) > 1:
            key = str(path[1])
            by_expert[key] = (*by_expert.get(key, ()), problem)
        else:
            elsewhere.append(problem)
    return by_expert, elsewhere


def key_path(loc: Sequence[str | int]) -> Path:
    """The path of keys in the file that a location of pydantic means."""
    path = tuple(part for part in loc if part != "[key]")
    if path[:1] == ("reasoningBudget",):
        return path[:1]  # what follows names the alternatives of a union
    if path[:1] == ("model",):
        return ("model", *(part for part in path if isinstance(part, int)))
    if len(path) > _SKILL_DEPTH and path[0] == "experts" and path[2] == "skills":
        return (*path[:_SKILL_DEPTH], *path[_SKILL_DEPTH + 1 :])
    return path


def _sentence(details: ErrorDetails) -> tuple[str, str]:
    kind, loc, value = details["type"], details["loc"], details["input"]
    context: Mapping[str, object] = details.get("ctx", {})
    if loc[0] == "reasoningBudget":
        levels = ", ".join(map(repr, models.REASONING_LEVELS))
        return f"{_shown(value)} is none of {levels} and no number of tokens", ""
    if kind == "missing":
        return "is required", ""
    if kind == "extra_forbidden":
        return "is not a key of this table", _where_it_belongs(loc)
    if kind == "union_tag_not_found":
        return "has no type", f"Write type = one of {_either(_SKILLS)}."
    if kind == "union_tag_invalid":
        tag = str(context.get("tag"))
        return f"the type {_shown(tag)} is none of {_either(_SKILLS)}", suggestion(tag, _SKILLS)
    if kind == "literal_error":
        expected = str(context.get("expected"))
        return f"{_shown(value)} is none of {expected}", suggestion(str(value), expected.split("'")[1::2])
    if kind == "int_type" and isinstance(value, float):
        return f"{_shown(value)} is not a whole number", ""
    if kind in _TYPES:
        return f"must be {_TYPES[kind]}, not {_NAMES.get(type(value), f'a {type(value).__name__}')}", ""
    if kind == "value_error":
        reason = str(context.get("error"))
        return (f"{_shown(value)} {reason}" if isinstance(value, str) else reason), ""
    limit = next((context[name] for name in ("ge", "gt", "le", "max_length", "min_length") if name in context), "")
    return _bounds(kind, limit) or details["msg"], ""


def _bounds(kind: str, limit: object) -> str:
    return {
        "greater_than_equal": f"must be at least {limit}",
        "greater_than": f"must be greater than {limit}",
        "less_than_equal": f"must be at most {limit}",
        "string_too_long": f"must have at most {limit} characters",
        "string_too_short": "must not be empty",
        "too_short": "must not be empty",
    }.get(kind, "")


def _where_it_belongs(loc: Sequence[str | int]) -> str:
    key = str(loc[-1])
    close = suggestion(key, _keys(_table_at(loc)))
    if close:
        return close
    for table, place in (
        (models.Project, "at the top of the file, above every table"),
        (models.ExpertConfig, "in the Expert's own table"),
        (skills.StdioSkill, "in a skill's table"),
    ):
        if key in _keys(table):
            return f"It belongs {place}."
    return ""


def _table_at(loc: Sequence[str | int]) -> type[BaseModel]:
    match tuple(loc[:-1]):
        case ("provider",):
            return models.ProviderTable
        case ("policy",):
            return models.PolicyTable
        case (*_, "limits"):
            return skills.LimitsTable
        case ("experts", _):
            return models.ExpertConfig
        case ("experts", _, "skills", _, str(kind)) if kind in _SKILLS:
            return _SKILLS[kind]
        case (*_, "requiredEnv", int()):
            return skills.RequiredEnv
        case (*_, "tools", _):
            return skills.InteractiveTool
        case _:
            return models.Project


def _keys(table: type[BaseModel]) -> set[str]:
    return {info.alias or name for name, info in table.model_fields.items()}


def _either(words: Iterable[str]) -> str:
    return ", ".join(repr(word) for word in words)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
