"""Results as JSON of a schema: what a model is told, what it can be held to, and whether its answer fits.

An Expert with a ``resultSchema`` is told of it, whatever its model. Where the model's table says so, its vendor
holds it to the schema as well. Either way the answer is checked, and one that does not fit goes back with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from perstack.checkpoints import ErrorInfo
from perstack.messages import JsonObject, JsonValue
from perstack.tools.arguments import argument_problems

MOST_REJECTED = 3
"""Results of one run that are sent back; a model that misses the schema more often will not hit it."""

MISFIT = "This is not the result that was asked for: {problems}. Give it again, as one JSON object of the schema."
KEPT = frozenset({"type", "description", "properties", "required", "items", "enum", "const", "anyOf", "$ref", "$defs"})
"""Keywords that every vendor takes. The others are left to the check of the answer."""


def told(schema: JsonObject) -> str:
    """The words for the instruction."""
    written = json.dumps(schema, ensure_ascii=False)
    return (
        "Your result has to be one JSON object of this JSON Schema, and nothing else: no words around it, and no code "
        f"fence. The same holds for the result that you give to attemptCompletion.\n{written}"
    )


def fitting(text: str, schema: JsonObject) -> tuple[str, str]:
    """The result in `text` as JSON, and what is wrong with it: words for the model, empty when nothing is."""
    try:
        value = json.loads(_unfenced(text))
    except (ValueError, RecursionError):
        return text, "it is not JSON"
    if not isinstance(value, dict):
        return text, "it is not a JSON object"
    return json.dumps(value, ensure_ascii=False), "; ".join(argument_problems(value, schema))


def _unfenced(text: str) -> str:
    """What stands in a text's only code fence, or the text."""
    before, fence, rest = text.strip().partition("```")
    inside, end, after = rest.partition("```")
    if before or not fence or not end or after:
        return text
    return inside.removeprefix("json")


def misfitting(problems: str) -> ErrorInfo:
    """Why a run failed whose model did not hit the schema."""
    return ErrorInfo(name="ResultMisfit", message=f"The result does not fit its schema: {problems}.")


def enforceable(schema: JsonObject) -> JsonObject | None:
    """The schema in the keywords that every vendor can hold a model to, or None where an object of it is open."""
    try:
        return _enforceable(schema)
    except _Open:
        return None


class _Open(Exception):
    """An object takes properties that the schema does not name."""


def _enforceable(schema: JsonObject) -> JsonObject:
    found: JsonObject = {key: value for key, value in schema.items() if key in KEPT}
    for key in ("properties", "$defs"):
        if isinstance(inner := schema.get(key), dict):
            found[key] = {name: _inner(one) for name, one in inner.items()}
    if "items" in schema:
        found["items"] = _inner(schema["items"])
    if isinstance(options := schema.get("anyOf"), list):
        found["anyOf"] = [_inner(one) for one in options]
    if schema.get("type") == "object" or "properties" in schema:
        if "properties" not in schema or schema.get("additionalProperties", False) is not False:
            raise _Open
        found["additionalProperties"] = False
    return found


def _inner(schema: JsonValue) -> JsonValue:
    if not isinstance(schema, Mapping):
        raise _Open
    return _enforceable(dict(schema))
