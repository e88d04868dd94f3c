"""Which schemas the grammar is made of, and what is taken for a call."""

from __future__ import annotations

import json

import pytest
from embedded import FINISH, READ, TEXT, TOOLS, tool
from hypothesis import given
from hypothesis import strategies as st
from perstack.messages import JsonObject, JsonValue, ToolDefinition
from perstack_provider_embedded.grammar import MAX_NODES, Answer, Call, grammar, parse, without_optional

SAFE = {"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "minItems", "maxItems"}
SAFE |= {"minimum", "maximum", "minLength"}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
keywords = st.sampled_from([*SAFE, "not", "$ref", "pattern", "format", "if", "oneOf", "allOf", "const", "items"])
schemas = st.dictionaries(keywords, json_values | st.just({"type": "string", "pattern": "(?=x)"}), max_size=5)


def branches(*tools: ToolDefinition) -> dict[str, JsonObject]:
    """The schema of each key that the model may write."""
    text = grammar(tools)
    head, _, schema = text.partition("start: %json ")
    assert head == "%llguidance {}\n"
    found = {}
    for branch in json.loads(schema)["anyOf"]:
        ((name, inner),) = branch["properties"].items()
        assert branch["required"] == [name]
        assert branch["additionalProperties"] is False
        found[name] = inner
    return found


def simple(schema: JsonObject) -> JsonObject:
    """What becomes of the schema of an argument."""
    return branches(tool("t", required=("x",), x=schema))["t"]["properties"]["x"]


def test_each_tool_has_a_branch_and_the_answer_has_the_name_of_the_finishing_tool() -> None:
    assert list(branches(*TOOLS)) == ["readTextFile", "writeTextFile", "readToolOutput", "attemptCompletion"]
    assert list(branches()) == ["attemptCompletion"]
    assert branches(FINISH)["attemptCompletion"]["type"] == "string"


def test_a_tiny_model_is_told_of_required_arguments_only() -> None:
    assert list(branches(without_optional(READ))["readTextFile"]["properties"]) == ["path"]
    assert list(branches(READ)["readTextFile"]["properties"]) == ["path", "from", "to", "offset"]
    assert branches(without_optional(tool("t", x=TEXT)))["t"]["properties"] == {}


def test_a_tool_without_arguments_is_called_with_none() -> None:
    assert branches(tool("clock"))["clock"] == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "pattern": "(?=x)", "format": "mystery"}, {"type": "string"}),
        ({"type": "integer", "minimum": 5, "maximum": 2}, {"type": "integer", "minimum": -(10**9), "maximum": 10**9}),
        ({"type": "integer", "minimum": 1.5}, {"type": "integer", "minimum": 2, "maximum": 10**9}),
        ({"enum": ["a", {"b": 1}, None]}, {"enum": ["a", None]}),
        ({"const": 7}, {"enum": [7]}),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"oneOf": [{"type": "string"}, {"not": {}}]}, {}),
        ({"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "maxItems": 99}, None),
        ({"type": "object", "additionalProperties": {"type": "string"}}, None),
        ({"type": "weird"}, {}),
        ({"$ref": "https://elsewhere.example/schema"}, {}),
        ({"$ref": "#/properties/x"}, {}),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_a_schema_keeps_what_always_compiles(schema: JsonObject, expected: JsonObject | None) -> None:
    found = simple(schema)
    if expected is not None:
        assert found == expected
    elif found["type"] == "array":
        assert found == {"type": "array", "items": {"type": "boolean"}, "minItems": 0, "maxItems": 32}
    else:
        assert found == {"type": "object", "additionalProperties": {"type": "string"}}


def test_a_reference_inside_the_schema_is_followed() -> None:
    schema: JsonObject = {
        "type": "object",
        "$defs": {"Path": {"type": "string"}},
        "properties": {"p": {"$ref": "#/$defs/Path"}},
    }
    definition = ToolDefinition(name="t", description="", input_schema=schema)
    assert branches(definition)["t"]["properties"] == {"p": TEXT}


def test_a_huge_schema_makes_a_grammar_of_bounded_size() -> None:
    properties: dict[str, JsonValue] = {f"p{n}": {"type": "object", "properties": {"q": TEXT}} for n in range(60)}
    tools = [tool(f"t{n}", **properties) for n in range(200)]
    assert grammar(tools).count('"type"') < 3 * MAX_NODES


def _keywords(schema: object, found: set[str]) -> set[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            found.add(key)
            inner = list(value.values()) if key == "properties" else value if key == "anyOf" else [value]
            for one in inner if key in {"properties", "anyOf", "items", "additionalProperties"} else []:
                _keywords(one, found)
    return found


@given(schemas)
def test_no_schema_brings_in_a_keyword_that_may_not_compile(schema: JsonObject) -> None:
    found = simple(schema)
    assert _keywords(found, set()) <= SAFE


def test_what_was_written_is_a_call_or_an_answer_or_nothing() -> None:
    assert parse('{"readTextFile": {"path": "a"}}', TOOLS) == Call(name="readTextFile", args={"path": "a"})
    assert parse('{"attemptCompletion": "done"}', TOOLS) == Answer(text="done")
    for text in ("", "hello", "[]", "{}", '{"rm": {}}', '{"readTextFile": 1}', '{"attemptCompletion": {}}', '{"a"'):
        assert parse(text, TOOLS) is None


def test_an_answer_of_a_schema_is_an_object_and_no_text() -> None:
    schema: JsonObject = {"type": "object", "properties": {"a": TEXT}}
    assert json.loads(grammar(TOOLS, result=schema).partition("%json ")[2])["anyOf"][-1]["properties"] == {
        "attemptCompletion": simple(schema)
    }
    assert parse('{"attemptCompletion": {"a": "ü"}}', TOOLS, result=schema) == Answer(text='{"a": "ü"}')
    assert parse('{"attemptCompletion": "done"}', TOOLS, result=schema) is None
