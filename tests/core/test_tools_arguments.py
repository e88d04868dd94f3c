"""Arguments held against a tool's schema, with the jsonschema package as the oracle."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perstack.tools.arguments import argument_problems

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "role": {"enum": ["a", "b", 1]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "again": {"$ref": "#/$defs/point"},
        "fixed": {"const": True},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
}


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ({}, "name is missing"),
        ({"name": 7}, "name must be string, not a number"),
        ({"name": ""}, "name must have at least 1 characters"),
        ({"name": "toolong"}, "name must have at most 5 characters"),
        ({"name": "x", "age": 1.5}, "age must be integer, not a number"),
        ({"name": "x", "age": True}, "age must be integer, not boolean"),
        ({"name": "x", "age": -1}, "age must be at least 0"),
        ({"name": "x", "role": True}, "role must be one of 'a', 'b', 1"),
        ({"name": "x", "tags": ["a", 1]}, "tags[1] must be string, not a number"),
        ({"name": "x", "either": []}, "either fits none of its forms"),
        ({"name": "x", "again": {}}, "again.x is missing"),
        ({"name": "x", "fixed": 1}, "fixed must be True"),
        ({"name": "x", "nmae": "y"}, "nmae is not known; known are: name, age"),
    ],
)
def test_AM9_an_argument_that_does_not_fit_is_named(args, problem) -> None:
    assert any(found.startswith(problem) for found in argument_problems(args, PERSON))


def test_arguments_that_fit_have_no_problems() -> None:
    args = {"name": "x", "age": 3.0, "role": "a", "tags": ["t"], "either": None, "again": {"x": 1.5}, "fixed": True}
    assert argument_problems(args, PERSON) == ()


def test_at_most_five_problems_are_told() -> None:
    assert len(argument_problems({f"key{n}": n for n in range(50)}, PERSON)) == 5


def test_AM9_deep_and_huge_arguments_are_refused() -> None:
    deep: object = "x"
    for _ in range(100):
        deep = [deep]
    assert "nested deeper" in argument_problems({"x": deep}, {})[0]
    assert "more than" in argument_problems({"x": list(range(200_000))}, {})[0]


def test_AM9_a_schema_that_never_ends_costs_bounded_work() -> None:
    endless = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}}
    assert argument_problems({}, endless) == ()
    wide = {"anyOf": [{"anyOf": [{"anyOf": [{"type": "string"}] * 99}] * 99}] * 99}
    assert len(argument_problems({}, wide)) <= 1


def test_AM9_a_pattern_of_a_server_is_never_run() -> None:
    evil = {"properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}}
    assert argument_problems({"x": "a" * 5000 + "!"}, evil) == ()


scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0]) | st.text("ab", max_size=3)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2)
)
kinds = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])


def schemas(inner):
    return st.fixed_dictionaries(
        {},
        optional={
            "type": kinds | st.lists(kinds, min_size=1, max_size=2, unique=True),
            "properties": st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
            "required": st.lists(st.sampled_from("xyz"), max_size=2, unique=True),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "enum": st.lists(scalars, min_size=1, max_size=2),
            "const": scalars,
            "minLength": st.integers(0, 3),
            "maxItems": st.integers(0, 3),
            "minimum": st.integers(-2, 2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    )


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from("xyz"), values, max_size=3),
    schemas(st.recursive(st.just({}), schemas, max_leaves=4)),
)
def test_AM9_the_verdict_is_that_of_a_complete_validator_for_what_is_checked(args, schema) -> None:
    complete = jsonschema.Draft202012Validator(schema).is_valid(args)
    assert (argument_problems(args, schema) == ()) == complete
