"""The table requirement → test → result, written by each run of the tests that has such tests.

A test covers the rows and attacks that have their id in its name, and defects of the original (`W_19`). The table goes
to `build/requirement-matrix.md`, and as data beside it. A whole run fails when something has neither a test that passed
nor a written reason, when fewer are shown than `requirements.toml` says, or when one of its rows for container engines
was not shown on each of them. A run of some tests writes `requirement-matrix-part`, and hides nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import engine_rows
import mutations
import pytest
from requirements import at_least, ids_of, requirements

FOLDER = Path(__file__).resolve().parents[2] / "build"

PARTIAL = ("file_or_dir", "keyword", "markexpr", "ignore", "ignore_glob", "deselect", "lf")
"""Options that leave tests out."""

Rows = dict[str, dict[str, str]]
"""Outcome by test, by id."""


class Matrix:
    """Collects outcomes where all of them arrive: in the only process, or in the one that divides the work."""

    def __init__(self, *, whole: bool, folder: Path = FOLDER) -> None:
        self._whole = whole
        self._folder = folder
        self._outcomes: dict[str, str] = {}
        self._problems: list[str] = []
        self._counts: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps the worst of a test's stages."""
        if ids_of(report.nodeid) and (report.when == "call" or report.outcome != "passed"):
            self._outcomes[report.nodeid] = report.outcome

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Writes the table; a whole run that shows too little fails."""
        rows: Rows = {}
        for test, outcome in sorted(self._outcomes.items()):
            for row in ids_of(test):
                rows.setdefault(row, {})[test] = outcome
        if not rows:
            return
        self._folder.mkdir(exist_ok=True)
        name = "requirement-matrix" if self._whole else "requirement-matrix-part"
        data = {"rows": rows, "missing": missing(rows), "shown": shown(rows)}
        (self._folder / f"{name}.json").write_text(json.dumps(data, indent=2) + "\n")
        (self._folder / f"{name}.md").write_text(table(rows))
        if self._whole:
            self._counts = counts(rows)
        if self._whole and session.exitstatus == pytest.ExitCode.OK:
            self._problems = problems(rows)
            if self._problems:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says what a whole run shows in numbers, and what it does not show."""
        for count in self._counts:
            terminalreporter.write_line(f"requirement matrix: {count}")
        for problem in self._problems:
            terminalreporter.write_line(f"requirement matrix: {problem}", red=True)


def missing(rows: Rows) -> list[str]:
    """What has neither a test that passed nor a written reason."""
    return [one.id for one in requirements() if not one.reason and not _passed(rows, one.id)]


def shown(rows: Rows) -> dict[str, int]:
    """How many rows and attacks have a test that passed."""
    passed = [one.attack for one in requirements() if _passed(rows, one.id)]
    return {"rows": passed.count(False), "attacks": passed.count(True)}


def counts(rows: Rows) -> list[str]:
    """How many were declared, run and passed: in all, and on each engine."""
    known = requirements()
    passed, run = sum(_passed(rows, one.id) for one in known), sum(one.id in rows for one in known)
    return [f"{len(known)} declared, {run} run, {passed} passed", *engine_rows.counts(rows)]


def problems(rows: Rows) -> list[str]:
    """Why a whole run shows too little; empty where it does not."""
    found = [f"nothing shows {each}, and no reason is written" for each in missing(rows)]
    enough = shown(rows)
    found += [
        f"{enough[what]} {what} are shown, and {count} have to be"
        for what, count in at_least().items()
        if enough[what] < count
    ]
    return found + engine_rows.problems(rows)


def table(rows: Rows) -> str:
    """The rows as a page."""
    lines = [
        "# Requirement matrix",
        "",
        "Written by the test run.",
        "",
        "| row | test | result |",
        "| --- | --- | --- |",
    ]
    for row in sorted(rows, key=_natural):
        by_test: dict[str, list[str]] = {}
        for test, outcome in rows[row].items():
            name, _, case = test.partition("[")
            by_test.setdefault(name, []).append(f"{outcome} ({case.rstrip(']')})" if case else outcome)
        for name, outcomes in by_test.items():
            told = outcomes if len(outcomes) <= 4 else [_counted(outcomes)]
            lines.append(f"| {row} | `{name}` | {', '.join(told)} |")
    reasons = {one.id: one.reason for one in requirements() if one.reason}
    lines += [f"| {row} | - | {reason} |" for row, reason in reasons.items() if row not in rows]
    lines += [f"| {row} | - | not shown by this run |" for row in missing(rows) if row not in rows]
    return "\n".join(lines) + "\n"


def register(config: pytest.Config) -> None:
    """The matrix is written by this run, unless it is a part of another."""
    if not hasattr(config, "workerinput") and not os.environ.get(mutations.VARIABLE):
        chosen = any(config.getoption(name) for name in PARTIAL)
        config.pluginmanager.register(Matrix(whole=not chosen), "requirement-matrix")


def _passed(rows: Rows, ident: str) -> bool:
    return "passed" in rows.get(ident, {}).values()


def _counted(outcomes: list[str]) -> str:
    kinds = [outcome.split()[0] for outcome in outcomes]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def _natural(row: str) -> tuple[str, int]:
    head = row.rstrip("0123456789")
    return head, int(row[len(head) :])
