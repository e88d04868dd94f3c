"""``perstack changes``: what is kept is listed, shown, applied or dropped, and nothing else happens to it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from perstack.cli.changes import left_over, settle
from perstack.cli.main import main
from perstack.staging.copies import About, Copies, Purpose, StagedCopy, sandbox_owner

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sandboxes with copies are POSIX")


class Kept:
    """A workspace with a file, and copies of it."""

    def __init__(self, directory: Path) -> None:
        self.workspace = directory / "workspace"
        self.state = directory / "state"
        self.workspace.mkdir()
        (self.workspace / "file").write_text("as it was\n")

    def copy(self, name: str = "job", purpose: Purpose = "overlay") -> StagedCopy:
        about = About(id=name, job=name, workspace=str(self.workspace), purpose=purpose)
        return Copies(self.state).make(about, sandbox_owner(self.workspace))

    def changed(self, name: str = "job", purpose: Purpose = "overlay") -> None:
        copy = self.copy(name, purpose)
        (copy.workspace / "file").write_text("as it is\n")
        copy.close()

    def perstack(self, *args: str) -> int:
        return main(["changes", *args, "--state-dir", str(self.state)])

    @property
    def ids(self) -> list[str]:
        return list(Copies(self.state).ids())


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_what_is_kept_is_listed_for_people_and_for_programs(kept, capsys) -> None:
    assert kept.perstack() == 0
    assert capsys.readouterr().out == "No changes are kept.\n"
    kept.changed()
    used = kept.copy("other")
    assert kept.perstack() == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"job  overlay  1 change: 1 to apply  {kept.workspace}"
    assert "used by another process" in second
    used.close()
    assert kept.perstack("--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["changes"]) for row in rows] == [("job", 1), ("other", 0)]


def test_changes_are_shown_line_by_line_and_nothing_happens_to_them(kept, capsys) -> None:
    kept.changed()
    assert kept.perstack("job") == 0
    out = capsys.readouterr().out
    assert out.startswith("modified file\n    by no tool call: while none was running\n    -as it was\n    +as it is\n")
    assert "1 change: 1 to apply, in " in out
    assert kept.perstack("job", "--json") == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert [change[key] for key in ("path", "kind", "verdict")] == ["file", "modified", "ready"]
    assert change["after"]["size"] == len("as it is\n")
    assert (kept.workspace / "file").read_text() == "as it was\n"
    assert kept.ids == ["job"]


def test_changes_are_applied_or_dropped_and_then_gone(kept, capsys) -> None:
    kept.changed()
    assert kept.perstack("job", "--apply") == 0
    assert capsys.readouterr().out == f"Applied 1 change to {kept.workspace}.\n"
    assert (kept.workspace / "file").read_text() == "as it is\n"
    (kept.workspace / "file").write_text("as it was\n")
    kept.changed()
    assert kept.perstack("job", "--drop") == 0
    assert (kept.workspace / "file").read_text() == "as it was\n"
    assert kept.ids == []


def test_AF12_a_conflict_is_named_and_stays_until_it_is_dropped(kept, capsys) -> None:
    kept.changed()
    (kept.workspace / "file").write_text("on the host\n")
    for _ in range(2):
        assert kept.perstack("job", "--apply") == 2
        out = capsys.readouterr().out
        assert "not applied: file: it was changed on the host meanwhile" in out
        assert "perstack changes job --drop" in out
    assert (kept.workspace / "file").read_text() == "on the host\n"
    (kept.workspace / "file").write_text("as it is\n")
    assert kept.perstack("job", "--apply") == 0, "the control: what is the same on both sides is no conflict"
    assert kept.ids == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("none",), "no changes of 'none'"),
        (("../state",), "id"),
        (("--apply",), "Whose changes?"),
        (("job", "--apply", "--drop"), "not allowed with"),
    ],
)
def test_a_wrong_command_line_is_said(kept, capsys, args, said) -> None:
    kept.changed()
    assert kept.perstack(*args) == 1
    assert said in capsys.readouterr().err
    assert kept.ids == ["job"]


def test_a_workspace_that_is_gone_keeps_its_changes(kept, capsys) -> None:
    kept.changed()
    (kept.workspace / "file").unlink()
    kept.workspace.rmdir()
    assert kept.perstack("job", "--apply") == 2
    assert "cannot be opened" in capsys.readouterr().err
    assert kept.perstack() == 0
    assert kept.ids == ["job"]


def test_at_the_end_of_a_run_a_yes_applies_and_everything_else_keeps(kept, capsys, monkeypatch) -> None:
    answers = ["", "no", "yes"]

    class Person:
        def read(self, question: str) -> str:
            assert question == "1 change: 1 to apply. Apply them? [y]es, [n]o:"
            return answers.pop(0)

        def close(self) -> None:
            pass

    monkeypatch.setattr("perstack.terminal.prompts.open_terminal", lambda _: Person())
    kept.changed()
    for _ in range(2):
        (line,) = settle(kept.state, "job", apply=False, ask=True)
        assert line == "1 change: 1 to apply; kept until you apply or drop them: perstack changes job"
        assert "    +as it is\n" in capsys.readouterr().err, "they were shown before"
    assert (kept.workspace / "file").read_text() == "as it was\n"
    assert settle(kept.state, "job", apply=False, ask=True) == [f"Applied 1 change to {kept.workspace}."]
    assert (kept.workspace / "file").read_text() == "as it is\n"
    monkeypatch.setattr("perstack.terminal.prompts.open_terminal", lambda _: None)
    (kept.workspace / "file").write_text("as it was\n")
    kept.changed()
    assert "kept until" in settle(kept.state, "job", apply=False, ask=True)[0], "nobody is there"
    assert settle(kept.state, "job", apply=True, ask=False) == [f"Applied 1 change to {kept.workspace}."]
    assert kept.ids == []
    kept.copy().close()
    assert settle(kept.state, "job", apply=False, ask=True) == []
    assert kept.ids == [], "a copy without changes is not kept"


def test_what_killed_runs_left_is_told_once_it_has_changes_and_is_removed_without(kept) -> None:
    kept.changed("killed", "rw")
    kept.copy("idle", "rw").close()
    kept.changed("overlay")
    running = kept.copy("running", "rw")
    (running.workspace / "file").write_text("x")
    (line,) = left_over(kept.state)
    assert line == f"Run killed was killed with 1 change: 1 to apply, in {kept.workspace}. See: perstack changes killed"
    assert kept.ids == ["killed", "overlay", "running"]
    running.close()
    assert len(list(left_over(kept.state))) == 2, "the control: it was left alone because its run is alive"
