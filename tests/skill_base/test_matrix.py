"""The table of rows says what was shown, and by which test; a row that nothing shows is named."""

from __future__ import annotations

import json
from types import SimpleNamespace

from requirement_matrix import EXPECTED, Matrix, rows_of, table


def report(nodeid, outcome, when="call"):
    return SimpleNamespace(nodeid=nodeid, outcome=outcome, when=when)


def test_rows_are_read_from_names_and_nothing_else_is():
    assert rows_of("t/test_x.py::test_O1_O3_AF1_W_19_no_tool_follows[local-O9]") == ["O1", "O3", "AF1", "W-19"]
    assert rows_of("t/test_AX1.py::test_an_H264_or_O_file_and_UTF8_are_no_rows") == []


def test_each_outcome_is_in_the_table_and_missing_rows_are_named(tmp_path):
    matrix = Matrix(whole=True, folder=tmp_path)
    matrix.pytest_runtest_logreport(report("a.py::test_O1_holds[process]", "passed"))
    matrix.pytest_runtest_logreport(report("a.py::test_O1_holds[docker]", "skipped", "setup"))
    matrix.pytest_runtest_logreport(report("a.py::test_AX10_ends", "failed"))
    matrix.pytest_runtest_logreport(report("a.py::test_plain", "passed"))
    matrix.pytest_sessionfinish()
    data = json.loads((tmp_path / "requirement-matrix.json").read_text())
    page = (tmp_path / "requirement-matrix.md").read_text()
    assert "| O1 | `a.py::test_O1_holds` | skipped (docker), passed (process) |" in page
    assert "| AX10 | `a.py::test_AX10_ends` | failed |" in page
    assert "AX10" in data["missing"]
    assert "O1" not in data["missing"]
    assert set(data["missing"]) < {row for rows in EXPECTED.values() for row in rows}


def test_rows_stand_in_their_natural_order():
    lines = [line.split()[1] for line in table({"AX10": {"t": "passed"}, "AX2": {"t": "passed"}}).splitlines()[6:8]]
    assert lines == ["AX2", "AX10"]
