"""Env files hold names and values; nothing in one is run, interpolated or shown."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack.config.dotenv import parse


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A = b ", "b"),
        ("A=", ""),
        ("A=b # comment", "b"),
        ("A=b#c", "b#c"),
        ("A= # only a comment", ""),
        ("A='b # c' # comment", "b # c"),
        ('A="b\\nc \\"d\\" \\\\ \\$x"', 'b\nc "d" \\ $x'),
        ("A=$(touch x)", "$(touch x)"),
        ("A=${HOME}`id`", "${HOME}`id`"),
        ("A='it'", "it"),
        ("A=a=b", "a=b"),
    ],
)
def test_a_value_is_what_is_written(line, value) -> None:
    assert parse(f"# head\n\n{line}\r\n", where=".env") == ({"A": (value, 3)}, [])


@pytest.mark.parametrize("line", ["A", "1A=x", "A B=x", "A='x", 'A="x', "A='x' y", "=x", "A-B=x", "A=\0x"])
def test_a_line_that_is_no_assignment_is_a_problem_that_keeps_the_line_secret(line) -> None:
    canary = uuid.uuid4().hex
    found, problems = parse(f"OK=1\n{line}{canary}\n", where=".env")
    assert [(problem.where, problem.line) for problem in problems] == [(".env", 2)]
    assert canary not in str(problems[0])
    assert found == {"OK": ("1", 1)}


def test_of_two_lines_with_one_name_the_last_holds() -> None:
    assert parse("A=1\nA=2", where=".env")[0] == {"A": ("2", 2)}


@given(st.text())
def test_any_text_is_read_without_an_exception(text: str) -> None:
    found, problems = parse(text, where="x")
    assert all("\0" not in value for value, _ in found.values())
    assert all(problem.line for problem in problems)
