"""The table of rows says what was shown, and by which test; a row that nothing shows is named."""

from __future__ import annotations

import json
from types import SimpleNamespace

from engine_rows import ENGINES, declared, shown
from requirement_matrix import Matrix, counts, problems, table
from requirements import at_least, ids_of, requirements


def report(nodeid, outcome, when="call"):
    return SimpleNamespace(nodeid=nodeid, outcome=outcome, when=when)


def test_rows_are_read_from_names_and_nothing_else_is():
    assert ids_of("t/test_x.py::test_O1_O3_AF1_W_19_no_tool_follows[local-O9]") == ["O1", "O3", "AF1", "W-19"]
    assert ids_of("t/test_x.py::test_N8_to_N10_and_AN5_are_special@docker") == ["N8", "N9", "N10", "AN5"]
    assert ids_of("t/test_AX1.py::test_an_H264_or_O_file_and_UTF8_are_no_rows") == []


def test_each_outcome_is_in_the_table_and_missing_rows_are_named(tmp_path):
    matrix = Matrix(whole=True, folder=tmp_path)
    matrix.pytest_runtest_logreport(report("a.py::test_O1_holds[process]", "passed"))
    matrix.pytest_runtest_logreport(report("a.py::test_O1_holds[docker]", "skipped", "setup"))
    matrix.pytest_runtest_logreport(report("a.py::test_AX10_ends", "failed"))
    matrix.pytest_runtest_logreport(report("a.py::test_plain", "passed"))
    session = SimpleNamespace(exitstatus=0)
    matrix.pytest_sessionfinish(session)
    data = json.loads((tmp_path / "requirement-matrix.json").read_text())
    page = (tmp_path / "requirement-matrix.md").read_text()
    assert "| O1 | `a.py::test_O1_holds` | skipped (docker), passed (process) |" in page
    assert "| AX10 | `a.py::test_AX10_ends` | failed |" in page
    assert "AX10" in data["missing"]
    assert "O1" not in data["missing"]
    assert set(data["missing"]) < {one.id for one in requirements()}
    assert session.exitstatus == 1, "a whole run that shows next to nothing fails"


def test_a_run_that_shows_everything_has_no_problem_and_one_row_less_is_one():
    needed = [one.id for one in requirements() if not one.reason]
    whole = {each: {"t.py::test": "passed"} for each in needed}
    assert [text for text in problems(whole) if "no reason" in text] == []
    assert any(f"nothing shows {needed[0]}," in text for text in problems({**whole, needed[0]: {"t": "failed"}}))
    assert any(f"and {at_least()['rows']} have to be" in text for text in problems({}))


def test_a_row_is_shown_on_an_engine_by_tests_that_ran_there_and_of_which_none_failed():
    rows = {
        "C2": {"a.py::test_C2_x[docker]": "passed", "a.py::test_C2_x[64-podman]": "passed", "a.py::test_C2_y": "failed"}
    }
    assert [engine for engine in ENGINES if shown(rows, "C2", engine)] == ["docker", "podman"]
    rows["C2"]["b.py::test_C2_z[podman-64]@podman"] = "failed"
    assert [engine for engine in ENGINES if shown(rows, "C2", engine)] == ["docker"]
    assert not shown({"C2": {"a.py::test_C2_x[docker]": "skipped"}}, "C2", "docker")
    assert f"docker: {len(declared())} declared, 1 run, 1 passed" in counts(rows)
    assert "nothing shows C2 on podman" in problems(rows)


def test_rows_stand_in_their_natural_order():
    lines = [line.split()[1] for line in table({"AX10": {"t": "passed"}, "AX2": {"t": "passed"}}).splitlines()[6:8]]
    assert lines == ["AX2", "AX10"]
