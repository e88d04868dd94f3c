"""The small languages of ``perstack log``."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack.errors import UsageError
from perstack.journal.filters import parse_condition, parse_since, parse_steps
from perstack.journal.query import Page

EVENT = {
    "type": "callTools",
    "stepNumber": 5,
    "usage": {"totalTokens": 120, "ratio": 0.5},
    "toolCalls": [
        {"toolName": "exec", "args": {"args": ["-l", "1"], "deep": [[{"x": 1}]]}},
        {"toolName": "think", "skillName": "a b"},
    ],
    "isError": True,
    "nothing": None,
}


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("5", {5}),
        (">5", {6, 7, 8, 9}),
        (">=5", {5, 6, 7, 8, 9}),
        ("<5", {0, 1, 2, 3, 4}),
        ("<=5", {0, 1, 2, 3, 4, 5}),
        ("3-5", {3, 4, 5}),
        ("5-5", {5}),
        (" 5 ", {5}),
    ],
)
def test_steps_are_a_number_a_bound_or_a_range_with_both_ends(text, inside):
    steps = parse_steps(text)
    assert {step for step in range(10) if step in steps} == inside


@pytest.mark.parametrize("text", ["", "x", "5-", "-5", "5-1", ">5-7", "1e3", "=5", "5 6", "9" * 10, "٥"])
def test_other_words_are_no_steps(text):
    with pytest.raises(UsageError) as caught:
        parse_steps(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (".type == callTools", True),
        (".type == 'callTools'", True),
        ('.type=="callTools"', True),
        (".type != callTools", False),
        (".stepNumber == 5", True),
        (".stepNumber == 5.0", True),
        (".stepNumber >= 5", True),
        (".stepNumber < 5", False),
        (".stepNumber == '5'", False),
        (".usage.totalTokens > 119", True),
        (".usage.ratio <= 0.5", True),
        (".toolCalls[].toolName == think", True),
        (".toolCalls.toolName == think", True),
        (".toolCalls[].toolName == other", False),
        (".toolCalls[].skillName == a b", True),
        (".toolCalls[].args.args[] == -l", True),
        (".toolCalls[].args.args == '1'", True),
        (".toolCalls[].args.deep[].x == 1", True),
        (".isError == true", True),
        (".isError == 1", False),
        (".isError != false", True),
        (".isError > 0", False),
        (".nothing == null", True),
        (".missing == null", False),
        (".missing != x", False),
        (".type.deeper == x", False),
        (".type > 3", False),
        (".stepNumber > x", False),
        (f".stepNumber < {'9' * 5000}", True),
    ],
)
def test_a_condition_compares_one_field_by_value_and_type(text, holds):
    assert parse_condition(text).holds(EVENT) is holds


@pytest.mark.parametrize(
    "text", ["", "type == x", ".type", ".type ==", ".type = x", ". == x", ".a..b == x", ".a[0] == x"]
)
def test_other_words_are_no_condition(text):
    with pytest.raises(UsageError, match="no condition"):
        parse_condition(text)


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_a_usage_error(text):
    with contextlib.suppress(UsageError):
        parse_condition(text).holds(EVENT)


@pytest.mark.parametrize(("text", "ago"), [("90s", 90_000), ("10m", 600_000), ("2h", 7_200_000), ("3d", 259_200_000)])
def test_a_time_may_be_so_long_ago(text, ago):
    assert parse_since(text, now=10**12) == 10**12 - ago


def test_a_time_without_a_zone_is_local():
    local = datetime(2026, 1, 31, 12, tzinfo=UTC).astimezone().utcoffset()
    assert local is not None
    assert parse_since("2026-01-31T12:00", now=0) == 1_769_860_800_000 - round(local.total_seconds() * 1000)
    assert parse_since("2026-01-31T12:00+00:00", now=0) == 1_769_860_800_000
    for bad in ("", "soon", "5", "5y", "2026-13-01", "0001-01-01"):
        with pytest.raises(UsageError, match="no time"):
            parse_since(bad, now=0)


@given(st.lists(st.integers(1, 500), unique=True).map(sorted), st.integers(0, 30), st.integers(0, 30))
def test_pages_lie_side_by_side_from_the_newest_on(matches, take, offset):
    page = Page(take=take, offset=offset).cut(matches)
    older_end = len(matches) - offset
    expected = matches[: max(0, older_end)] if take == 0 else matches[max(0, older_end - take) : max(0, older_end)]
    assert list(page) == expected


@pytest.mark.parametrize("context", [0, 1, 10**17])
def test_neighbours_of_a_match_are_shown_however_many_are_asked_for(context):
    page = Page(context=context)
    assert [seq for seq in range(1, 30) if page.shows(seq, (5, 20))] == [
        seq for seq in range(1, 30) if abs(seq - 5) <= context or abs(seq - 20) <= context
    ]
    assert not page.shows(5, ())
