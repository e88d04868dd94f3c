"""A checker for the part of JSON Schema that the base tools use; it names the argument and what it must be."""

from __future__ import annotations

import os
from collections.abc import Mapping

from perstack_skill_base.errors import invalid

_TYPES: dict[str, tuple[str, type]] = {
    "string": ("a string", str),
    "integer": ("an integer", int),
    "boolean": ("true or false", bool),
    "array": ("an array", list),
    "object": ("an object", dict),
}


def check(value: object, schema: Mapping[str, object], name: str = "arguments") -> None:
    """The value fits the schema.

    Args:
        value: Parsed JSON.
        schema: Uses type, properties, required, additionalProperties, items, enum, minimum, maximum, maxLength,
            maxItems and maxProperties only.
        name: What the value is called in messages.

    Raises:
        ToolError: It does not fit.
    """
    kind = schema["type"]
    assert isinstance(kind, str)  # noqa: S101 - the schemas are ours
    words, expected = _TYPES[kind]
    if not isinstance(value, expected) or (kind == "integer" and isinstance(value, bool)):
        raise invalid(f"{name} must be {words}, not {_describe(value)}.")
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        raise invalid(f"{name} must be one of {', '.join(map(repr, choices))}, not {_describe(value)}.")
    _check_bounds(value, schema, name)
    if isinstance(value, dict):
        _check_members(value, schema, name)
    elif isinstance(value, list):
        items = schema["items"]
        assert isinstance(items, Mapping)  # noqa: S101 - the schemas are ours
        for position, item in enumerate(value):
            check(item, items, f"{name}[{position}]")


def _check_bounds(value: object, schema: Mapping[str, object], name: str) -> None:
    if isinstance(value, int) and not isinstance(value, bool):
        low, high = schema.get("minimum"), schema.get("maximum")
        if isinstance(low, int) and value < low:
            raise invalid(f"{name} must be at least {low}, not {_describe(value)}.")
        if isinstance(high, int) and value > high:
            raise invalid(f"{name} must be at most {high}, not {_describe(value)}.")
    elif isinstance(value, str | list | dict):
        if isinstance(value, str) and not _is_whole(value):
            raise invalid(f"{name} has half a character (a lone surrogate), which nothing can take.")
        for word, unit in (("maxLength", "characters"), ("maxItems", "items"), ("maxProperties", "members")):
            most = schema.get(word)
            if isinstance(most, int) and len(value) > most:
                raise invalid(f"{name} has {len(value)} {unit}; at most {most} are accepted.")


def _is_whole(text: str) -> bool:
    """Whether the system can take the text; bytes of file names that are no UTF-8 stand as halves that it knows."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _check_members(value: dict[str, object], schema: Mapping[str, object], name: str) -> None:
    properties, required, others = (
        schema.get("properties", {}),
        schema.get("required", ()),
        schema["additionalProperties"],
    )
    assert isinstance(properties, Mapping)  # noqa: S101 - the schemas are ours
    assert isinstance(required, list | tuple)  # noqa: S101 - the schemas are ours
    for member in required:
        if member not in value:
            raise invalid(f"{name} lacks {member!r}. Required: {', '.join(required)}.")
    for member, inner in value.items():
        label = member if name == "arguments" else f"{name}.{member}"
        if member in properties:
            check(inner, properties[member], label)
        elif isinstance(others, Mapping):
            check(inner, others, label)
        else:
            accepted = ", ".join(properties) or "none"
            raise invalid(f"{name} has the unknown member {member[:100]!r}. Accepted: {accepted}.")


def _describe(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
