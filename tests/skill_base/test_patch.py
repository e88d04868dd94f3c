"""applyPatch: what git and diff write is put to files exactly; what does not fit changes nothing and is explained."""

from __future__ import annotations

import difflib
import random
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack_skill_base import patches

SOURCE = "".join(f"line {number}\n" for number in range(1, 41))


def edited(text):
    return text.replace("line 3\n", "line three\n").replace("line 30\n", "").replace("line 39\n", "line 39\nnew\n")


def diff(old, new, path="a.txt", context=3):
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{path}", f"b/{path}", n=context
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


@pytest.fixture
def file(workspace):
    path = workspace / "a.txt"
    path.write_text(SOURCE)
    path.chmod(0o755)
    return path


def test_a_diff_is_applied_and_the_mode_stays(server, file):
    result = server.ok("applyPatch", patch=diff(SOURCE, edited(SOURCE)))
    assert file.read_text() == edited(SOURCE)
    assert file.stat().st_mode & 0o777 == 0o755
    assert result["files"] == [
        {"path": "a.txt", "action": "changed", "hash": server.ok("readTextFile", path="a.txt")["hash"]}
    ]


def test_wrong_numbers_and_moved_lines_are_found(server, file):
    file.write_text("above\n" * 5 + SOURCE)
    patch = diff(SOURCE, edited(SOURCE)).replace("@@ -1,6 +1,6 @@", "@@ -1,60 +1,7 @@")
    server.ok("applyPatch", patch=patch)
    assert file.read_text() == "above\n" * 5 + edited(SOURCE)


def test_a_hunk_without_numbers_fits_where_its_lines_stand_once(server, file):
    patch = "--- a.txt\n+++ a.txt\n@@\n line 7\n-line 8\n+line eight\n"
    server.ok("applyPatch", patch=patch)
    assert "line 7\nline eight\nline 9\n" in file.read_text()
    file.write_text("same\nsame\n")
    result = server.call("applyPatch", patch="--- a.txt\n+++ a.txt\n@@\n-same\n+other\n")
    assert "more than one place (lines 1, 2)" in result["rejected"][0]["reason"]


def test_windows_line_endings_stay(server, file):
    file.write_bytes(SOURCE.replace("\n", "\r\n").encode())
    server.ok("applyPatch", patch=diff(SOURCE, edited(SOURCE)))
    assert file.read_bytes() == edited(SOURCE).replace("\n", "\r\n").encode()


def test_bytes_that_are_no_text_stay(server, file):
    file.write_bytes(b"\xff\xfe\nline\n\x80")
    server.ok("applyPatch", patch="--- a/a.txt\n+++ b/a.txt\n@@ -2 +2 @@\n-line\n+other\n")
    assert file.read_bytes() == b"\xff\xfe\nother\n\x80"


def test_files_are_made_deleted_and_renamed(server, workspace, file):
    (workspace / "gone").write_text("x\n")
    patch = (
        "diff --git a/a.txt b/new/b.txt\nsimilarity index 97%\nrename from a.txt\nrename to new/b.txt\n"
        "--- a/a.txt\n+++ b/new/b.txt\n@@ -1,2 +1,2 @@\n-line 1\n+line one\n line 2\n"
        "--- /dev/null\n+++ b/made/c.txt\n@@ -0,0 +1,2 @@\n+one\n+two\n\\ No newline at end of file\n"
        "--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
    )
    assert server.ok("applyPatch", patch=patch, dryRun=True)
    assert (workspace / "gone").exists()
    actions = [(entry["path"], entry["action"]) for entry in server.ok("applyPatch", patch=patch)["files"]]
    assert actions == [("new/b.txt", "changed"), ("made/c.txt", "created"), ("gone", "deleted")]
    assert (workspace / "new/b.txt").read_text().startswith("line one\nline 2\n")
    assert (workspace / "made/c.txt").read_text() == "one\ntwo"
    assert not file.exists()
    assert not (workspace / "gone").exists()


def test_one_part_that_does_not_fit_changes_nothing_and_is_explained(server, workspace, file):
    (workspace / "b.txt").write_text("other\n")
    good = diff(SOURCE, edited(SOURCE))
    bad = "--- a/b.txt\n+++ b/b.txt\n@@ -1,2 +1,2 @@\n other\n-expected\n+changed\n"
    result = server.call("applyPatch", patch=good + bad)
    assert result.is_error
    assert result["error"] == "Rejected"
    assert result["fitting"] == ["a.txt"]
    (rejected,) = result["rejected"]
    assert rejected == {
        "path": "b.txt",
        "hunk": 1,
        "line": 1,
        "reason": "line 2 of the file is the end of the file, the patch has 'expected'",
    }
    assert file.read_text() == SOURCE
    assert (workspace / "b.txt").read_text() == "other\n"


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ("hello", "there is no file in it"),
        ("@@ -1 +1 @@\n-a\n+b\n", "a hunk without"),
        ("--- a/a.txt\n+++ b/a.txt\n", "has no hunk"),
        ("--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n", "is empty"),
        ("--- /dev/null\n+++ /dev/null\n@@ -1 +1 @@\n-a\n+b\n", "both sides"),
        ("diff --git a/x b/x\nGIT binary patch\n", "binary"),
        (2 * "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-line 1\n+x\n", "twice"),
    ],
)
def test_what_is_no_patch_says_why(server, file, patch, words):
    kind, message = server.refused("applyPatch", patch=patch)
    assert kind == "InvalidArguments"
    assert words in message
    assert file.read_text() == SOURCE


def test_a_file_is_not_made_over_another_and_not_deleted_with_more_in_it(server, file):
    made = "--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1 @@\n+x\n"
    assert "already exists" in server.call("applyPatch", patch=made)["rejected"][0]["reason"]
    part = "--- a/a.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-line 1\n"
    assert "more text" in server.call("applyPatch", patch=part)["rejected"][0]["reason"]
    assert file.read_text() == SOURCE


TEXTS = st.lists(st.sampled_from(["a", "b", "", "-- x", "++ y", "@@ -1 +1 @@", " ", "--- a/x", "\\"]), max_size=12)


@given(TEXTS, TEXTS, st.booleans(), st.booleans(), st.integers(0, 3))
def test_every_diff_of_two_texts_makes_the_second_of_the_first(old, new, old_open, new_open, context):
    before = "\n".join(old) + ("" if old_open or not old else "\n")
    after = "\n".join(new) + ("" if new_open or not new else "\n")
    patch = diff(before, after, context=context)
    if patch:
        (one,) = patches.parse(patch)
        assert patches.apply(before, one.hunks) == patches.Applied(after, ())


@given(st.text(alphabet="ab-+@ \\\n0,1/", max_size=200))
def test_any_text_is_a_patch_or_a_patch_error(text):
    for body in (text, f"--- a/x\n+++ b/x\n{text}", f"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n{text}"):
        try:
            for one in patches.parse(body):
                patches.apply(text, one.hunks)
        except patches.PatchError:
            continue


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git to compare with")
def test_what_git_writes_is_applied_as_git_applies_it(server, workspace, tmp_path):
    rng = random.Random(20_261_122)
    for number in range(8):
        old = [f"{rng.choice('abc')}{rng.randrange(5)}" for _ in range(40)]
        new = [line for line in old if rng.random() > 0.15]
        for _ in range(4):
            new.insert(rng.randrange(len(new)), f"new {rng.random()}")
        folders = [tmp_path / f"{side}{number}" for side in "ab"]
        for folder, lines in zip(folders, (old, new), strict=True):
            folder.mkdir()
            (folder / "f").write_text("\n".join(lines))
        command = ["git", "diff", "--no-index", "--no-prefix", str(folders[0] / "f"), str(folders[1] / "f")]
        written = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout
        patch = written.replace(str(folders[0])[1:], "a").replace(str(folders[1])[1:], "b")
        patch = patch.replace(str(folders[0]), "a").replace(str(folders[1]), "b")
        (workspace / "f").write_text("\n".join(old))
        server.ok("applyPatch", patch=patch)
        assert (workspace / "f").read_text() == "\n".join(new)
