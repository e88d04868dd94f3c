"""What the model may write: a call of an offered tool or an answer, as one JSON object with one key.

A call is ``{TOOL: ARGUMENTS}``, an answer ``{"attemptCompletion": TEXT}``. The tool's name stands right before its
arguments because a small model binds an argument to what stands near: with ``{"name": TOOL, "arguments": ...}`` it
takes the wrong file.

The grammar is llguidance's. llama.cpp decodes without any constraint when it cannot compile a grammar, and says so
nowhere; so schemas are rebuilt here from keywords that always compile, and `parse` checks what comes back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from perstack.messages import JsonObject, JsonValue, ToolDefinition

FINISH = "attemptCompletion"
"""The key of an answer. A tool of this name is called together with the answer and is no choice of its own.

With the shorter "answer" or "done", the small model answers before it has done the work.
"""

MAX_DEPTH = 8
MAX_NODES = 2_000
MAX_PROPERTIES = 64
MAX_CHOICES = 100
MAX_ITEMS = 32
MAX_INTEGER = 10**9
"""Bounds that real tools keep far within. Beyond them a schema becomes `ANY`, and its server has the last word."""

ANY: JsonObject = {}
_SCALARS = ("string", "integer", "number", "boolean", "null")
_COMPACT: JsonObject = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """The model calls a tool."""

    name: str
    args: JsonObject


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The model is done."""

    text: str


def grammar(tools: Sequence[ToolDefinition], *, result: JsonObject | None = None) -> str:
    """The grammar of one turn: a branch per tool, and one for the answer, which is a text or of the schema `result`."""
    budget = _Budget(MAX_NODES)
    branches: list[JsonValue] = [
        _object({tool.name: _simple(tool.input_schema, tool.input_schema, 0, budget)})
        for tool in tools
        if tool.name != FINISH
    ]
    answer: JsonObject = {"type": "string", "minLength": 1}
    branches.append(_object({FINISH: answer if result is None else _simple(result, result, 0, budget)}))
    return _start({"anyOf": branches})


def result_grammar(result: JsonObject) -> str:
    """The grammar of an answer that is nothing but a value of the schema `result`."""
    return _start(_simple(result, result, 0, _Budget(MAX_NODES)))


def _start(schema: JsonObject) -> str:
    return f"%llguidance {{}}\nstart: %json {json.dumps({'x-guidance': _COMPACT, **schema})}"


def without_optional(tool: ToolDefinition) -> ToolDefinition:
    """The tool with the arguments that it requires and no others; a tiny model fills the others with what it finds."""
    properties, required = tool.input_schema.get("properties"), tool.input_schema.get("required")
    if not isinstance(properties, dict):
        return tool
    needed = required if isinstance(required, list) else []
    kept: JsonObject = {name: schema for name, schema in properties.items() if name in needed}
    schema: JsonObject = {**tool.input_schema, "properties": kept, "additionalProperties": False}
    return ToolDefinition(name=tool.name, description=tool.description, input_schema=schema)


def parse(text: str, tools: Iterable[ToolDefinition], *, result: JsonObject | None = None) -> Call | Answer | None:
    """What the model wrote, or None when it is neither a call of one of `tools` nor an answer, of `result` if given."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((key, inner),) = value.items()
    if key == FINISH:
        if result is not None:
            return Answer(text=json.dumps(inner, ensure_ascii=False)) if isinstance(inner, dict) else None
        return Answer(text=inner) if isinstance(inner, str) else None
    known = any(tool.name == key for tool in tools)
    return Call(name=key, args=inner) if known and isinstance(inner, dict) else None


class _Budget:
    """Counts the schemas that were written, so that no tool list makes a grammar that takes seconds to compile."""

    def __init__(self, nodes: int) -> None:
        self._left = nodes

    def spend(self) -> bool:
        self._left -= 1
        return self._left >= 0


def _simple(schema: JsonValue, root: JsonObject, depth: int, budget: _Budget) -> JsonObject:
    """`schema` in safe keywords: never wider than the original in its types and names, bounded in size.

    Patterns and formats are left out: a value that breaks them is refused by the tool, and the model reads why.
    """
    if not isinstance(schema, dict) or depth > MAX_DEPTH or not budget.spend():
        return ANY
    if isinstance(reference := schema.get("$ref"), str):
        return _simple(_resolved(reference, root), root, depth + 1, budget)
    if "const" in schema:
        return _choice([schema["const"]])
    if isinstance(values := schema.get("enum"), list):
        return _choice(values)
    for keyword in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(keyword), list) and options:
            return _any_of([_simple(option, root, depth + 1, budget) for option in options[:MAX_CHOICES]])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _any_of([_simple({**schema, "type": one}, root, depth + 1, budget) for one in kind])
    if kind == "object" or "properties" in schema:
        return _simple_object(schema, root, depth, budget)
    if kind == "array":
        count = _bounds(schema, "minItems", "maxItems", 0, MAX_ITEMS)
        return {"type": "array", "items": _simple(schema.get("items"), root, depth + 1, budget), **count}
    if kind == "integer":
        return {"type": "integer", **_bounds(schema, "minimum", "maximum", -MAX_INTEGER, MAX_INTEGER)}
    return {"type": kind} if kind in _SCALARS else ANY


def _simple_object(schema: JsonObject, root: JsonObject, depth: int, budget: _Budget) -> JsonObject:
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties:
        values = schema.get("additionalProperties", depth > 0)
        if values is False or (values is True and depth == 0):
            return _object({})
        return {"type": "object", "additionalProperties": _simple(values, root, depth + 1, budget)}
    required = schema.get("required")
    wanted = [name for name in properties if isinstance(required, list) and name in required]
    others = [name for name in properties if name not in wanted]
    kept = (wanted + others)[: max(MAX_PROPERTIES, len(wanted))]
    simple = {name: _simple(properties[name], root, depth + 1, budget) for name in properties if name in kept}
    return _object(simple, required=wanted)


def _object(properties: dict[str, JsonObject], *, required: Sequence[str] | None = None) -> JsonObject:
    """An object of exactly these properties, in this order; all of them are required unless said otherwise."""
    names = list(properties) if required is None else list(required)
    return {
        "type": "object",
        "properties": cast("JsonObject", properties),
        "required": cast("list[JsonValue]", names),
        "additionalProperties": False,
    }


def _choice(values: list[JsonValue]) -> JsonObject:
    scalars: list[JsonValue] = [value for value in values if not isinstance(value, (dict, list))]
    return {"enum": scalars[:MAX_CHOICES]} if scalars else ANY


def _any_of(options: list[JsonObject]) -> JsonObject:
    if not options or ANY in options:
        return ANY
    return options[0] if len(options) == 1 else {"anyOf": cast("list[JsonValue]", options)}


def _bounds(schema: JsonObject, lower: str, upper: str, least: int, most: int) -> JsonObject:
    """Integer bounds that leave at least one value, or the widest ones when the schema's own leave none."""
    low, high = _number(schema.get(lower), least), _number(schema.get(upper), most)
    low, high = max(math.ceil(low), least), min(math.floor(high), most)
    return {lower: low, upper: high} if low <= high else {lower: least, upper: most}


def _number(value: JsonValue, default: int) -> int | float:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else default  # type: ignore[return-value]


def _resolved(reference: str, root: JsonObject) -> JsonValue:
    """What a reference inside `root` points at; None, which allows anything, for all others."""
    if not reference.startswith("#"):
        return None
    value: JsonValue = root
    for part in reference.removeprefix("#").split("/")[1:]:
        if not isinstance(value, dict):
            return None
        value = value.get(part.replace("~1", "/").replace("~0", "~"))
    return value
