"""A copy of a workspace, what is done in it by whoever means no good, and what of that reaches the host."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perstack.errors import StagingError, UsageError
from perstack.staging import applying, copying, walk
from perstack.staging.changes import leads_out
from perstack.staging.copies import About, Copies, StagedCopy, sandbox_owner
from perstack.staging.diff import COMPARED_LINES, SHOWN_LINES, compared, describe, summary
from perstack_proxy.file_policy import FilePolicy

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sandboxes with copies are POSIX")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    made = tmp_path / "workspace"
    made.mkdir()
    return made


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    return Copies(tmp_path / "state")


def staged(copies: Copies, workspace: Path, name: str = "job") -> StagedCopy:
    about = About(id=name, job=name, workspace=str(workspace), purpose="overlay")
    return copies.make(about, sandbox_owner(workspace))


def verdicts(copy: StagedCopy) -> dict[str, tuple[str, str]]:
    return {change.path: (change.kind, change.verdict) for change in copy.changes()}


def shown(copy: StagedCopy) -> list[str]:
    return list(describe(copy, copy.changes(), {}))


# --- the copy --------------------------------------------------------------------------------------------------------


def test_a_copy_holds_everything_but_secrets_and_special_files_and_shares_nothing(copies, workspace) -> None:
    (workspace / "deep/er").mkdir(parents=True)
    (workspace / "deep/er/file").write_text("text")
    (workspace / "deep/run").write_text("#!")
    (workspace / "deep/run").chmod(0o755)
    (workspace / "link").symlink_to("deep/er/file")
    (workspace / ".env").write_text("secret")
    (workspace / ".ssh").mkdir()
    (workspace / ".ssh/id_ed25519").write_text("secret")
    os.mkfifo(workspace / "pipe")
    os.link(workspace / "deep/run", workspace / "second")
    copy = staged(copies, workspace)
    found = {path.relative_to(copy.workspace).as_posix() for path in copy.workspace.rglob("*")}
    assert found == {"deep", "deep/er", "deep/er/file", "deep/run", "link", "second"}
    assert (copy.workspace / "deep/run").stat().st_mode & 0o777 == 0o755
    assert os.readlink(copy.workspace / "link") == "deep/er/file"
    for name in ("deep/run", "second"):
        assert (copy.workspace / name).stat().st_nlink == 1, "a second name of a host file would change with the copy"
    assert copy.changes() == ()


def test_only_one_process_uses_a_copy_and_one_that_was_never_finished_is_not_seen(copies, workspace, tmp_path) -> None:
    copy = staged(copies, workspace)
    with pytest.raises(StagingError, match="used by another process"):
        copies.open("job")
    copy.close()
    again = copies.open("job")
    assert again.about.workspace == str(workspace)
    again.close()
    unfinished = copies.unfinished("half")
    (unfinished / "workspace").mkdir(parents=True)
    assert copies.ids() == ["job"]
    copies.sweep()
    assert not unfinished.exists()
    with pytest.raises(UsageError, match="no changes of 'other'"):
        copies.open("other")


def test_a_workspace_that_is_too_large_is_refused_and_leaves_nothing(copies, workspace, tmp_path, monkeypatch) -> None:
    for number in range(20):
        (workspace / f"{number}").write_text("x" * 100)
    monkeypatch.setattr(walk, "MAX_ENTRIES", 10)
    with pytest.raises(StagingError, match="more than 10 files"):
        staged(copies, workspace)
    monkeypatch.undo()
    monkeypatch.setattr(copying, "MAX_BYTES", 1000)
    with pytest.raises(StagingError, match="too large"):
        staged(copies, workspace)
    monkeypatch.undo()
    assert list((tmp_path / "state/changes").iterdir()) == []
    staged(copies, workspace).drop()
    assert list((tmp_path / "state/changes").iterdir()) == []


# --- what changed ----------------------------------------------------------------------------------------------------


def test_F2_every_kind_of_change_is_found_and_made_on_the_host(copies, workspace) -> None:
    for name in ("kept", "edited", "deleted", "moved", "mode", "becomes-directory", "touched"):
        (workspace / name).write_text(f"as it was {name}")
    (workspace / "becomes-file").mkdir()
    (workspace / "becomes-file/inner").write_text("x")
    (workspace / "empty").mkdir()
    copy = staged(copies, workspace)
    place = copy.workspace
    (place / "edited").write_text("new")
    (place / "deleted").unlink()
    (place / "moved").rename(place / "name")
    (place / "mode").chmod(0o755)
    os.utime(place / "touched", (1, 1))
    (place / "becomes-directory").unlink()
    (place / "becomes-directory").mkdir()
    (place / "becomes-directory/inner").write_text("y")
    (place / "becomes-file/inner").unlink()
    (place / "becomes-file").rmdir()
    (place / "becomes-file").write_text("z")
    (place / "empty").rmdir()
    (place / "new/deep").mkdir(parents=True)
    (place / "new/deep/link").symlink_to("../../kept")
    assert verdicts(copy) == {
        "edited": ("modified", "ready"),
        "deleted": ("deleted", "ready"),
        "moved": ("deleted", "ready"),
        "name": ("added", "ready"),
        "mode": ("modified", "ready"),
        "becomes-directory": ("modified", "ready"),
        "becomes-directory/inner": ("added", "ready"),
        "becomes-file": ("modified", "ready"),
        "becomes-file/inner": ("deleted", "ready"),
        "empty": ("deleted", "ready"),
        "new": ("added", "ready"),
        "new/deep": ("added", "ready"),
        "new/deep/link": ("added", "ready"),
    }
    assert "added name, renamed from moved" in shown(copy)
    assert "modified mode (mode 644 → 755)" in shown(copy)
    applied = copy.apply()
    assert applied.left == ()
    assert {path.relative_to(workspace).as_posix() for path in workspace.rglob("*")} == {
        path.relative_to(place).as_posix() for path in place.rglob("*")
    }
    for path in place.rglob("*"):
        if path.is_file():
            assert (workspace / path.relative_to(place)).read_text() == path.read_text()
    assert (workspace / "mode").stat().st_mode & 0o777 == 0o755
    assert copy.changes() == ()
    (place / "edited").write_text("newer")
    assert verdicts(copy) == {"edited": ("modified", "ready")}, "and it goes on from there"


def test_AF12_what_changed_on_the_host_meanwhile_is_never_overwritten_and_nothing_is_lost(copies, workspace) -> None:
    for name in ("both", "gone-here", "gone-there", "renamed", "same"):
        (workspace / name).write_text("as it was")
    (workspace / "directory").mkdir()
    (workspace / "directory/inner").write_text("as it was")
    copy = staged(copies, workspace)
    place = copy.workspace
    for name in ("both", "gone-here", "new", "same"):
        (place / name).write_text("in the copy")
    (place / "gone-there").unlink()
    (place / "renamed").rename(place / "target")
    (place / "directory/inner").unlink()
    (place / "directory").rmdir()
    for name in ("both", "gone-there", "new", "target"):
        (workspace / name).write_text("on the host")
    (workspace / "same").write_text("in the copy")
    (workspace / "gone-here").unlink()
    (workspace / "directory/more").write_text("on the host")
    before = {path: path.read_text() for path in workspace.rglob("*") if path.is_file()}
    applied = copy.apply()
    left = {change.path: change.verdict for change in applied.left}
    assert left == dict.fromkeys(
        ("both", "gone-here", "gone-there", "new", "renamed", "target", "directory"), "conflict"
    )
    assert [change.path for change in applied.made] == ["directory/inner"], "the control: what nobody else touched"
    del before[workspace / "directory/inner"]
    assert {path: path.read_text() for path in workspace.rglob("*") if path.is_file()} == before
    assert (place / "both").read_text() == "in the copy"
    assert (place / "target").read_text() == "as it was"


def test_AF9_control_secret_and_special_files_are_held_back(copies, workspace) -> None:
    (workspace / ".git").mkdir()
    copy = staged(copies, workspace)
    place = copy.workspace
    held = [".envrc", ".env", "sub/.env.local", ".github/workflows/ci.yml", ".GitHub/x", "perstack.toml", "a/id_rsa"]
    held += [".git/hooks/pre-commit", ".git/config", ".git/commondir", "lib/.git/config", "worktree/.git", "b/c.pem"]
    held += ["sub/.vscode/tasks.json", ".claude/settings.json"]
    for name in held:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("owned")
    os.mkfifo(place / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "s"))
    fine = ["src/code.py", ".git/objects/ab/cd", ".gitignore", "sub/ordinary", "package.json"]
    for name in fine:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("fine")
    left = {change.path: change.reason for change in copy.apply().left}
    assert {*held, "pipe", "s"} <= left.keys()
    assert not [name for name in (*held, "pipe", "s") if os.path.lexists(workspace / name)]
    assert [name for name in fine if (workspace / name).read_text() != "fine"] == [], "the control"


def test_AF9_what_is_opened_is_brought_back_and_nothing_else_that_programs_obey(copies, workspace) -> None:
    copy = staged(copies, workspace)
    put = {".github/workflows/ci.yml": True, ".gitlab-ci.yml": True, ".github/other": False, ".vscode/x": False}
    put |= {".github/workflows/.env": False, ".github/workflows/perstack.toml": False}
    for name in put:
        (copy.workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (copy.workspace / name).write_text("changed")
    files = FilePolicy(writable=[".github/workflows/**", ".gitlab-ci.yml"])
    copy.apply(lambda path, directory: files.control([*path.split("/"), *(["any"] if directory else [])]) is None)
    assert {name: os.path.lexists(workspace / name) for name in put} == put
    copy.apply()
    assert not (workspace / ".vscode").exists()


@pytest.mark.parametrize(
    "name",
    [
        "new\nline",
        "esc\x1b[2J",
        "rtl\u202egpj.exe",
        b"not-\xff-text".decode("utf-8", "surrogateescape"),
        "zero\u200bwidth",
    ],
)
def test_hostile_names_are_shown_as_text_and_held_back(copies, workspace, name) -> None:
    copy = staged(copies, workspace)
    (copy.workspace / name).write_text("x")
    (copy.workspace / "plain").write_text("\x1b]0;owned\x07 \u202e")
    lines = shown(copy)
    assert not [line for line in lines if {"\x1b", "\x07", "\u202e", "\n", "\u200b"} & set(line)]
    "\n".join(lines).encode()
    (left,) = copy.apply().left
    assert (left.path, left.verdict) == (name, "held")
    assert sorted(os.listdir(workspace)) == ["plain"], "the control: a plain name is applied"
    copy.close()
    assert [change.path for change in copies.open("job").changes()] == [name], "the record has room for any name"


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [
        ("a", "b", False),
        ("a", "b/c", False),
        ("d/a", "../b", False),
        ("a", "../b", True),
        ("d/a", "../../b", True),
        ("a", "/etc/passwd", True),
        ("a", "/workspace/b", True),
        ("d/a", "x/../../b", True),
        ("d/e/a", "x/..", True),
        ("a", "./b/./c", False),
    ],
)
def test_AF1_a_link_that_could_lead_out_of_the_workspace_is_known(path, target, out) -> None:
    assert leads_out(path, target) is out


def test_AF1_AF12_no_link_on_either_side_redirects_what_is_written_or_read(copies, workspace, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = secrets.token_hex(16)
    (outside / "file").write_text(secret)
    for name in ("one", "two", "three"):
        (workspace / name).mkdir()
        (workspace / name / "file").write_text("as it was")
    copy = staged(copies, workspace)
    place = copy.workspace
    for name in ("one", "two", "three"):
        (place / name / "file").write_text("new")
        (place / name / "made").write_text("new")
    # The host: a directory became a link. The copy: a directory, and a file, became links.
    (workspace / "one").rename(workspace / "one-was")
    (workspace / "one").symlink_to(outside)
    for path in (place / "two/file", place / "two/made"):
        path.unlink()
    (place / "two").rmdir()
    (place / "two").symlink_to(outside)
    (place / "leak").symlink_to(outside / "file")
    assert not [line for line in shown(copy) if secret in line]
    left = {change.path: change.verdict for change in copy.apply().left}
    assert left["one/file"] == left["one/made"] == "conflict"
    assert left["two"] == left["leak"] == "held"
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"file": secret}
    assert not (workspace / "two").is_symlink()
    assert (workspace / "three/made").read_text() == (workspace / "three/file").read_text() == "new", "the control"


def test_AF4_a_swap_of_a_directory_for_a_link_while_changes_are_applied_leads_nowhere(
    copies, workspace, tmp_path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for number in range(300):
        (workspace / f"d{number % 3}" / "in").mkdir(parents=True, exist_ok=True)
        (workspace / f"d{number % 3}" / "in" / f"{number}").write_text("x")
    copy = staged(copies, workspace)
    for path in list(copy.workspace.rglob("in/*")):
        path.write_text("new")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for root in (workspace, copy.workspace):
                with suppress(OSError):  # what was seen between two steps is applied, and in the way afterwards
                    os.rename(root / "d0", root / "away")
                    (root / "d0").symlink_to(outside)
                    (root / "d0").unlink()
                    os.rename(root / "away", root / "d0")

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        for _ in range(5):
            copy.apply()
    finally:
        stop.set()
        attacker.join()
    assert list(outside.rglob("*")) == []
    copy.apply()
    assert {path.read_text() for path in (workspace / "d1/in").iterdir()} == {"new"}, "the control"


def test_a_change_during_the_apply_is_a_conflict_even_if_it_comes_last(copies, workspace, monkeypatch) -> None:
    (workspace / "file").write_text("as it was")
    copy = staged(copies, workspace)
    (copy.workspace / "file").write_text("new")
    real = applying.copy_bytes

    def slow(source: int, target: int) -> None:
        real(source, target)
        (workspace / "file").write_text("by the user, now")

    monkeypatch.setattr(applying, "copy_bytes", slow)
    (left,) = copy.apply().left
    assert left.verdict == "conflict"
    assert (workspace / "file").read_text() == "by the user, now"
    assert os.listdir(workspace) == ["file"], "nothing half written stays"


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_a_copy_with_too_much_in_it_is_refused_whole_and_stays(copies, workspace, monkeypatch) -> None:
    copy = staged(copies, workspace)
    deep = copy.workspace
    for _ in range(walk.MAX_DEPTH + 5):
        deep = deep / "d"
        deep.mkdir()
    with pytest.raises(StagingError, match="levels deep"):
        copy.apply()
    assert os.listdir(workspace) == []
    subprocess.run(["rm", "-rf", str(copy.workspace / "d")], check=True)
    for number in range(30):
        (copy.workspace / f"{number}").touch()
    monkeypatch.setattr(walk, "MAX_ENTRIES", 20)
    with pytest.raises(StagingError, match="more than 20 files"):
        copy.changes()
    monkeypatch.undo()
    assert len(copy.apply().made) == 30, "the control"


def test_huge_files_are_sizes_in_the_diff_and_more_than_the_bound_is_not_written(
    copies, workspace, monkeypatch
) -> None:
    copy = staged(copies, workspace)
    with open(copy.workspace / "sparse", "wb") as file:
        file.truncate(100 * 1024**2)
    (copy.workspace / "binary").write_bytes(b"\0\1\2")
    lines = shown(copy)
    assert "    binary or large: nothing → 104857600 bytes" in lines
    assert "    binary or large: nothing → 3 bytes" in lines
    monkeypatch.setattr(applying, "MAX_BYTES", 10 * 1024**2)
    applied = copy.apply()
    assert [change.path for change in applied.made] == ["binary"]
    (left,) = applied.left
    assert "more than 10485760 bytes" in left.reason
    assert os.listdir(workspace) == ["binary"]


def test_a_diff_is_bounded_in_lines_and_in_time(copies, workspace) -> None:
    (workspace / "long").write_text("\n".join(f"{number}" for number in range(5000)))
    copy = staged(copies, workspace)
    (copy.workspace / "long").write_text("\n".join(f"{number} changed" for number in range(5000)))
    lines = shown(copy)
    assert len(lines) <= SHOWN_LINES + 4
    assert any("more lines" in line for line in lines)
    hostile = [[f"{(number * step) % 97}" for number in range(COMPARED_LINES)] for step in (7, 11)]
    started = time.monotonic()
    assert len(list(compared(*hostile))) >= COMPARED_LINES
    assert time.monotonic() - started < 20


TEXTS = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=30)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=TEXTS, after=TEXTS)
def test_a_diff_holds_every_line_that_went_and_every_line_that_came(before, after) -> None:
    lines = list(compared(before, after))
    gone = [line[1:] for line in lines if line.startswith("-")]
    came = [line[1:] for line in lines if line.startswith("+")]
    assert sorted([*before, *came]) == sorted([*after, *gone])


def test_the_summary_counts_in_words(copies, workspace) -> None:
    copy = staged(copies, workspace)
    assert summary(copy.changes()) == "no changes"
    (copy.workspace / "a").touch()
    assert summary(copy.changes()) == "1 change: 1 to apply"
    (copy.workspace / ".envrc").touch()
    assert summary(copy.changes()) == "2 changes: 1 to apply, 1 held back"
