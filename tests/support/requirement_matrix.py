"""The table row → test → result, written by each run of the tests that has such tests.

A row of the requirement (`O1`), an attack (`AX3`) or a defect of the original (`W_19`) is covered by the tests that
have its id in their name. The table goes to `build/requirement-matrix.md`, and as data beside it; rows in `EXPECTED`
that no test has shown are listed as missing. A run of some tests writes `requirement-matrix-part`, and hides nothing.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import mutations
import pytest

ROW = re.compile(r"(?:^|_)((?:[TNVXORQZ]|A[SNFXMCOH])\d{1,2}|W_\d\d)(?=_|$)")
FOLDER = Path(__file__).resolve().parents[2] / "build"

#: Rows by the part of the project that has to show them; each part adds its own.
EXPECTED = {
    "base skill and exec": [
        *("O1", "O2", "O3", "O4", "O5", "O6", "X1", "X2", "X3", "X4", "X5", "V2", "V3", "V4"),
        *("AF1", "AF2", "AF3", "AF4", "AF5", "AF6", "AF7", "AF8", "AF13", "AF14"),
        *("AX1", "AX2", "AX3", "AX4", "AX5", "AX10", "AX12"),
    ],
}


def rows_of(test: str) -> list[str]:
    """The rows in a test's node id, in order."""
    name = test.rpartition("::")[2].partition("[")[0]
    return [row.replace("_", "-") for row in ROW.findall(name)]


class Matrix:
    """Collects outcomes where all of them arrive: in the only process, or in the one that divides the work."""

    def __init__(self, *, whole: bool, folder: Path = FOLDER) -> None:
        self._name = "requirement-matrix" if whole else "requirement-matrix-part"
        self._folder = folder
        self._outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps the worst of a test's stages."""
        if rows_of(report.nodeid) and (report.when == "call" or report.outcome != "passed"):
            self._outcomes[report.nodeid] = report.outcome

    def pytest_sessionfinish(self) -> None:
        """Writes the table."""
        rows: dict[str, dict[str, str]] = {}
        for test, outcome in sorted(self._outcomes.items()):
            for row in rows_of(test):
                rows.setdefault(row, {})[test] = outcome
        if rows:
            self._folder.mkdir(exist_ok=True)
            data = {"rows": rows, "missing": missing(rows)}
            (self._folder / f"{self._name}.json").write_text(json.dumps(data, indent=2) + "\n")
            (self._folder / f"{self._name}.md").write_text(table(rows))


def missing(rows: dict[str, dict[str, str]]) -> list[str]:
    """Expected rows that no test has shown."""
    return [row for part in EXPECTED.values() for row in part if "passed" not in rows.get(row, {}).values()]


def table(rows: dict[str, dict[str, str]]) -> str:
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
            shown = outcomes if len(outcomes) <= 4 else [_counted(outcomes)]
            lines.append(f"| {row} | `{name}` | {', '.join(shown)} |")
    lines += [f"| {row} | – | not shown by this run |" for row in missing(rows)]
    return "\n".join(lines) + "\n"


def register(config: pytest.Config) -> None:
    """The matrix is written by this run, unless it is a part of another."""
    if not hasattr(config, "workerinput") and not os.environ.get(mutations.VARIABLE):
        chosen = any(config.getoption(name) for name in ("file_or_dir", "keyword", "markexpr"))
        config.pluginmanager.register(Matrix(whole=not chosen), "requirement-matrix")


def _counted(outcomes: list[str]) -> str:
    kinds = [outcome.split()[0] for outcome in outcomes]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def _natural(row: str) -> tuple[str, int]:
    head = row.rstrip("0123456789")
    return head, int(row[len(head) :])
