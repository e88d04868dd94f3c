"""Arguments of a call held against the tool's JSON Schema before they are sent, so that the model learns at once.

The schema is a server's and the arguments are a model's: both are untrusted, so the work is bounded and no pattern of
theirs is run as a regular expression. What this subset does not know it lets pass; the server checks too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeGuard

from perstack_proxy.limits import MESSAGE_DEPTH

if TYPE_CHECKING:
    from perstack.messages import JsonObject, JsonValue
    from perstack.protocols import CallOutcome, SkillTool

MAX_PROBLEMS = 5
MAX_VISITS = 50_000
"""Values that are compared with a schema in one call; beyond it the server has to decide alone."""
MAX_ARGUMENT_VALUES = 100_000

_TYPES = {"string": str, "boolean": bool, "array": list, "object": dict, "null": type(None)}


class _Enough(Exception):
    """The budget of one check is used up."""


def argument_problems(args: JsonObject, schema: JsonObject) -> tuple[str, ...]:
    """What is wrong with `args`, in words for the model; empty when nothing is."""
    size = _size_problem(args)
    if size:
        return (size,)
    check = _Check(schema)
    problems: list[str] = []
    try:
        for problem in check.problems(args, schema, "", 0):
            problems.append(problem)
            if len(problems) == MAX_PROBLEMS:
                break
    except _Enough:
        return tuple(problems)
    return tuple(problems)


def output_problems(tool: SkillTool, outcome: CallOutcome) -> str:
    """Why structured content is not what the tool's own schema promises, or nothing. An error promises nothing."""
    if tool.output_schema is None or outcome.is_error:
        return ""
    if not isinstance(outcome.structured, dict):
        return "it has no structured content"
    return "; ".join(argument_problems(outcome.structured, tool.output_schema))


def _size_problem(args: JsonObject) -> str | None:
    values = 0
    level: list[JsonValue] = [args]
    for _ in range(MESSAGE_DEPTH):
        below: list[JsonValue] = []
        for value in level:
            below += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        values += len(below)
        if values > MAX_ARGUMENT_VALUES:
            return f"the arguments have more than {MAX_ARGUMENT_VALUES} values"
        if not below:
            return None
        level = below
    return f"the arguments are nested deeper than {MESSAGE_DEPTH} levels"


class _Check:
    """One comparison of arguments with a schema, within a budget of visits."""

    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._visits = 0

    def problems(self, value: JsonValue, schema: JsonValue, where: str, depth: int) -> Iterator[str]:
        self._visits += 1
        if self._visits > MAX_VISITS or depth > MESSAGE_DEPTH:
            raise _Enough
        if schema is False:
            yield f"{where or 'this'} is not allowed"
        if not isinstance(schema, dict):
            return
        target = self._target(schema)
        if target is not None:
            yield from self.problems(value, target, where, depth + 1)
        yield from _own_problems(value, schema, where)
        if isinstance(value, dict):
            yield from self._members(value, schema, where, depth)
        if isinstance(value, list):
            items = schema.get("items")
            if isinstance(items, dict):
                for index, item in enumerate(value):
                    yield from self.problems(item, items, f"{where}[{index}]", depth + 1)
        yield from self._combined(value, schema, where, depth)

    def _members(self, value: JsonObject, schema: JsonObject, where: str, depth: int) -> Iterator[str]:
        known, required = schema.get("properties"), schema.get("required")
        properties = known if isinstance(known, dict) else {}
        for name in required if isinstance(required, list) else ():
            if isinstance(name, str) and name not in value:
                yield f"{_join(where, name)} is missing"
        others = schema.get("additionalProperties", True)
        for name, item in value.items():
            if name in properties:
                yield from self.problems(item, properties[name], _join(where, name), depth + 1)
            elif others is False and "patternProperties" not in schema:
                yield f"{_join(where, name)} is not known; known are: {', '.join(properties) or 'none'}"
            elif isinstance(others, dict) and "patternProperties" not in schema:
                yield from self.problems(item, others, _join(where, name), depth + 1)

    def _combined(self, value: JsonValue, schema: JsonObject, where: str, depth: int) -> Iterator[str]:
        every = schema.get("allOf")
        for part in every if isinstance(every, list) else ():
            yield from self.problems(value, part, where, depth + 1)
        for key in ("anyOf", "oneOf"):
            parts = schema.get(key)
            if isinstance(parts, list) and parts:
                found = [next(self.problems(value, part, where, depth + 1), None) for part in parts]
                if None not in found:
                    yield f"{where or 'this'} fits none of its forms; the first: {found[0]}"

    def _target(self, schema: JsonObject) -> JsonValue | None:
        """What a local ``$ref`` points to; references to other documents are never followed."""
        ref = schema.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#/"):
            return None
        found: JsonValue = self._root
        for step in ref[2:].split("/"):
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found


def _own_problems(value: JsonValue, schema: JsonObject, where: str) -> Iterator[str]:
    name = where or "this"
    kinds = schema.get("type")
    wanted = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    if wanted and not any(_is_a(value, kind) for kind in wanted):
        yield f"{name} must be {' or '.join(map(str, wanted))}, not {_kind(value)}"
    options = schema.get("enum")
    if isinstance(options, list) and not any(_same(value, option) for option in options):
        yield f"{name} must be one of {', '.join(map(repr, options[:20]))}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{name} must be {schema['const']!r}"
    if isinstance(value, str | list):
        unit = "characters" if isinstance(value, str) else "items"
        low, high = ("minLength", "maxLength") if isinstance(value, str) else ("minItems", "maxItems")
        yield from _bounds(len(value), schema, (low, high), f"{name} must have", unit)
    if _number(value):
        yield from _bounds(value, schema, ("minimum", "maximum"), f"{name} must be", "")


def _bounds(value: float, schema: JsonObject, keys: tuple[str, str], what: str, unit: str) -> Iterator[str]:
    low, high = (schema.get(key) for key in keys)
    if _number(low) and value < low:
        yield f"{what} at least {low} {unit}".rstrip()
    if _number(high) and value > high:
        yield f"{what} at most {high} {unit}".rstrip()


def _is_a(value: JsonValue, kind: object) -> bool:
    if kind == "integer":
        return _number(value) and (isinstance(value, int) or value.is_integer())
    if kind == "number":
        return _number(value)
    expected = _TYPES.get(kind) if isinstance(kind, str) else None
    return expected is None or isinstance(value, expected)


def _same(value: JsonValue, other: JsonValue) -> bool:
    """JSON's equality, which tells true from 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _kind(value: JsonValue) -> str:
    if _number(value):
        return "a number"
    return next((name for name, kind in _TYPES.items() if isinstance(value, kind)), "a number")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
