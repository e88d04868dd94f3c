"""The list of differences to the original is complete, and names tests that are there."""

from __future__ import annotations

import re

from repository import ROOT

ROWS = re.findall(
    r"^\| W-(\d\d) \| (.+?) \| (.*?) ?\|$", (ROOT / "docs/decisions/upstream-differences.md").read_text(), re.MULTILINE
)
WITHOUT_A_TEST = ("open: ", "out of scope")


def test_every_number_stands_there_once_and_in_order() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 64))


def test_every_test_that_is_named_is_there() -> None:
    sources = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "core/src/perstack/testing").glob("checks_*.py")]
    known = {name for path in sources for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))}
    assert "test_every_test_that_is_named_is_there" in known, "the control"
    named = [(number, name) for number, _, tests in ROWS for name in re.findall(r"`(\w+)`", tests)]
    assert [pair for pair in named if pair[1] not in known] == []


def test_what_has_no_test_has_a_reason() -> None:
    for number, said, tests in ROWS:
        assert bool(tests) is not said.startswith(WITHOUT_A_TEST), f"W-{number}"
