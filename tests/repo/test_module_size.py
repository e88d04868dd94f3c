"""A module is short enough to be read at one sitting."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from repository import ROOT, distributions, relative

LONGEST = 500
MEDIAN = 150
# The hook specifications are a reference: each hook carries its example.
MAY_BE_LONGER = {"core/src/perstack/hookspecs.py"}


def line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_module_is_longer_than_the_limit() -> None:
    paths = [path for distribution in distributions() for path in distribution.modules()]
    paths += [*(ROOT / "tests").rglob("*.py"), *(path for path in (ROOT / "scripts").iterdir() if path.is_file())]
    too_long = {relative(path): line_count(path) for path in paths if line_count(path) > LONGEST}
    assert {name: count for name, count in too_long.items() if name not in MAY_BE_LONGER} == {}


def test_the_median_module_is_short() -> None:
    counts = [line_count(path) for distribution in distributions() for path in distribution.modules()]
    assert median(count for count in counts if count) <= MEDIAN
