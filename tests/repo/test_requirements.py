"""Every row of the requirement and every attack has a test or a reason, and their page names tests that exist."""

from __future__ import annotations

import re

from repository import ROOT
from requirements import at_least, covering, requirements

PAGE = ROOT / "docs" / "reference" / "requirements.md"
ROWS, ATTACKS = 97, 100


def test_every_row_and_every_attack_is_there() -> None:
    attacks = [one.attack for one in requirements()]
    assert (attacks.count(False), attacks.count(True)) == (ROWS, ATTACKS)
    assert len({one.id for one in requirements()}) == ROWS + ATTACKS


def test_everything_has_a_test_or_a_reason() -> None:
    tests = covering()
    assert [one.id for one in requirements() if one.id not in tests and not one.reason] == []


def test_as_many_have_a_test_as_a_whole_run_has_to_show() -> None:
    tests = covering()
    tested = [one.attack for one in requirements() if one.id in tests]
    assert tested.count(False) >= at_least()["rows"]
    assert tested.count(True) >= at_least()["attacks"]


def test_no_test_names_a_row_that_does_not_exist() -> None:
    known = {one.id for one in requirements()}
    assert [each for each in covering() if each not in known and not each.startswith("W-")] == []


def test_the_page_lists_everything_with_tests_that_exist() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    listed = [match[1] for line in lines if (match := re.match(r"\| ([A-Z]+\d+) \|", line))]
    assert listed == [one.id for one in requirements()], "run: scripts/requirement-docs"
    real = {f"{test.path}::{test.name}" for tests in covering().values() for test in tests}
    named = {name for line in lines for name in re.findall(r"`(tests/[^`]+::[^`]+)`", line)}
    assert named - real == set(), "run: scripts/requirement-docs"
