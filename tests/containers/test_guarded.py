"""What is masked in a workspace, and what is taken out of it afterwards, whatever a skill did to hide it; no engine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from perstack.errors import PolicyError
from perstack_containers import workspace as module
from perstack_containers.workspace import NOTHING_OPEN, binds, guarded, quarantine
from perstack_proxy.file_policy import FilePolicy


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    made = tmp_path / "workspace"
    made.mkdir()
    return made


def put(root: Path, *names: str, text: str = "as it was") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def targets(workspace: Path, tmp_path: Path, files: FilePolicy = NOTHING_OPEN) -> dict[str, bool]:
    mounts = binds(workspace, guarded(workspace, files), read_only=False, empty=tmp_path / "empty")
    return {bind.target.removeprefix("/workspace").lstrip("/"): bind.read_only for bind in mounts}


def test_AF9_AF10_control_and_secret_files_are_masked_wherever_they_are(workspace, tmp_path) -> None:
    masked = [".git/hooks", ".git/config", "a/.vscode", "a/b/.env", "lib/.git/config", "id_rsa", ".claude", ".mcp.json"]
    put(workspace, ".git/hooks/pre-commit", ".git/config", ".git/objects/x", "a/.vscode/tasks.json", "a/b/.env")
    put(workspace, "lib/.git/config", "id_rsa", ".claude/settings.json", ".mcp.json", "src/main.py", ".gitignore")
    put(workspace, "node_modules/p/.npmrc")
    (workspace / ".envrc").symlink_to("src/main.py")
    mounts = targets(workspace, tmp_path)
    assert {name for name, read_only in mounts.items() if read_only} == set(masked)
    assert {name for name, read_only in mounts.items() if not read_only} == {"", ".git", "lib/.git"}, "pinned, writable"


def test_AF9_AF10_what_a_policy_opens_is_mounted_as_it_is_and_nothing_else(workspace, tmp_path) -> None:
    put(workspace, ".github/ci.yml", ".github/perstack.toml", ".github/.env", "perstack.toml", ".npmrc", ".env")
    put(workspace, ".gitlab/one", ".gitlab/two", ".gitlab/deep/x", "sub/.npmrc", ".git/hooks/a", ".git/config")
    put(workspace, ".aws/config", ".ssh/config", ".devcontainer/.env", "tls.key")
    everything = FilePolicy(writable=["**"], readable=["**"])
    assert {name for name, ro in targets(workspace, tmp_path, everything).items() if ro} == {
        "perstack.toml",
        ".github/perstack.toml",
    }, "nobody is let change what says what skills may do"
    writable = ["/.github/**/", ".gitlab/one", ".gitlab/d*/**", ".npmrc", ".env", "../.git/**", "{.git/hooks,x}/**"]
    files = FilePolicy(writable=writable, readable=[".npmrc", ".aws/**", ".ssh/config", "t*.key"])
    mounts = targets(workspace, tmp_path, files)
    opened = {".github", ".gitlab/one", ".gitlab/deep", ".npmrc", ".git/hooks", ".aws", "tls.key"}
    assert {name for name, ro in mounts.items() if not ro} == {"", ".git", *opened}, "each one cannot be replaced"
    closed = {".github/perstack.toml", ".github/.env", "perstack.toml", ".env", ".gitlab", "sub/.npmrc", ".git/config"}
    assert {name for name, ro in mounts.items() if ro} == {*closed, ".ssh", ".devcontainer", ".devcontainer/.env"}
    order = list(mounts)
    assert order.index(".gitlab") < order.index(".gitlab/one"), "a mount comes after what it is mounted on"
    assert targets(workspace, tmp_path)[".github"], "the control: a skill of another policy has it read-only"


def test_AF9_new_files_that_a_policy_opens_stay_and_others_beside_them_are_taken_out(workspace, tmp_path) -> None:
    put(workspace, ".gitlab/kept.yml")
    files = FilePolicy(writable=[".github/workflows/**", ".gitlab/**", "*/.envrc"])
    before = guarded(workspace, files)
    put(workspace, ".github/workflows/ci.yml", ".gitlab/new.yml", "a/.envrc", text="opened")
    put(workspace, ".github/other", ".github/workflows/perstack.toml", "a/b/.envrc", ".envrc", text="owned")
    moved = {".github/other", ".github/workflows/perstack.toml", "a/b/.envrc", ".envrc"}
    assert set(quarantine(workspace, before, tmp_path / "kept", files).moved) == moved
    for name in (".github/workflows/ci.yml", ".gitlab/new.yml", ".gitlab/kept.yml", "a/.envrc"):
        assert (workspace / name).exists(), name
    assert set(quarantine(workspace, before, tmp_path / "kept").moved) >= {".github", "a/.envrc"}, "the control"


def test_AF9_what_a_policy_lets_be_made_is_new_to_the_skills_that_start_later(workspace, tmp_path) -> None:
    put(workspace, ".vscode/tasks.json", ".github/workflows/ci.yml", ".github/other", ".npmrc")
    first = guarded(workspace, FilePolicy(writable=[".gitlab-ci.yml", ".github/workflows/**"]))
    put(workspace, ".gitlab-ci.yml", ".github/workflows/new.yml")
    later = guarded(workspace, FilePolicy(writable=[".github/**"]))
    assert set(later.controls) == {".vscode", ".gitlab-ci.yml"}, "it is masked"
    assert set(later.since(first).controls) == {".vscode"}, "and held to be new at the end"
    plain = guarded(workspace)
    assert set(plain.since(first).controls) == {".vscode", ".github"}
    assert plain.since(plain) == plain, "the control"


def test_AF9_what_is_new_is_taken_out_and_what_was_there_stays(workspace, tmp_path) -> None:
    put(workspace, "perstack.toml", "sub/.vscode/tasks.json", ".env", "deep/.npmrc")
    (workspace / ".bashrc").symlink_to("perstack.toml")
    before = guarded(workspace)
    new = (
        ".husky/pre-commit",
        "sub/.idea/x.xml",
        "other/.envrc",
        "fresh/.git/hooks/post-checkout",
        "sub/.gitlab-ci.yml",
    )
    put(workspace, *new, "src/ordinary.py", "fresh/.git/HEAD", ".env.example", text="owned")
    found = quarantine(workspace, before, tmp_path / "kept")
    taken = {".husky", "sub/.idea", "other/.envrc", "fresh/.git/hooks", "sub/.gitlab-ci.yml"}
    assert (set(found.moved), found.complete) == (taken, True)
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {name.replace("/", "+") for name in taken}
    assert not [name for name in taken if os.path.lexists(workspace / name)]
    for name in ("perstack.toml", "sub/.vscode/tasks.json", ".env", "deep/.npmrc", ".bashrc"):
        assert (workspace / name).read_text() == "as it was", "the control: what was there is left alone"
    assert (workspace / "src/ordinary.py").exists()
    assert (workspace / ".env.example").exists()


def test_AF9_another_file_under_a_known_name_is_new_when_its_directory_was_moved_away(workspace, tmp_path) -> None:
    put(workspace, "sub/.vscode/tasks.json", "sub/code.py")
    before = guarded(workspace)
    (workspace / "sub").rename(workspace / "moved")
    put(workspace, "sub/.vscode/tasks.json", text="owned")
    found = quarantine(workspace, before, tmp_path / "kept")
    assert set(found.moved) == {"sub/.vscode", "moved/.vscode"}
    assert (tmp_path / "kept/sub+.vscode/tasks.json").read_text() == "owned"
    assert (tmp_path / "kept/moved+.vscode/tasks.json").read_text() == "as it was", "nothing is lost"


def test_AF9_AF1_no_link_leads_the_clearing_out_of_the_workspace(workspace, tmp_path) -> None:
    put(tmp_path / "outside", ".git/hooks/pre-commit", ".vscode/tasks.json")
    before = guarded(workspace)
    (workspace / ".git").symlink_to(tmp_path / "outside/.git")
    (workspace / "lib").symlink_to(tmp_path / "outside")
    put(workspace, ".envrc", text="owned")
    assert set(quarantine(workspace, before, tmp_path / "kept").moved) == {".git", ".envrc"}
    assert (tmp_path / "kept/.git").is_symlink()
    assert (tmp_path / "outside/.git/hooks/pre-commit").read_text() == "as it was"
    assert (tmp_path / "outside/.vscode/tasks.json").exists()


def test_AF9_neither_masses_of_files_nor_long_names_hide_a_control_file(workspace, tmp_path, monkeypatch) -> None:
    before = guarded(workspace)
    for number in range(60):
        put(workspace, f"aaa/{number}/file")
    long = "/".join(["d" * 200] * 10)
    put(workspace, ".envrc", f"{long}/.envrc", text="owned")
    monkeypatch.setattr(module, "MAX_SEARCHED", 30)
    found = quarantine(workspace, before, tmp_path / "kept")
    assert (found.moved, found.complete) == ((".envrc",), False), "what tools at the top obey is found first"
    monkeypatch.undo()
    assert quarantine(workspace, before, tmp_path / "kept").moved == (f"{long}/.envrc",)
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_AF9_what_cannot_be_moved_away_loses_its_name(workspace, tmp_path, monkeypatch) -> None:
    before = guarded(workspace)
    put(workspace, ".husky/pre-commit", text="owned")

    def fails(*_: object) -> None:
        raise shutil.Error("a special file")

    monkeypatch.setattr(shutil, "move", fails)
    assert quarantine(workspace, before, tmp_path / "kept").moved == (".husky",)
    (left,) = workspace.iterdir()
    assert left.name.startswith("perstack-quarantine-")


def test_a_workspace_with_too_much_to_mask_or_to_look_at_is_refused(workspace, monkeypatch) -> None:
    put(workspace, *(f"{number}/.npmrc" for number in range(10)), "x/.envrc", "y/.vscode/z")
    assert len(guarded(workspace).secrets) == 11, "the control"
    monkeypatch.setattr(module, "MAX_MASKS", 5)
    with pytest.raises(PolicyError, match="holds 11 files with secrets; 5 can be masked"):
        guarded(workspace)
    monkeypatch.setattr(module, "MAX_ENTRIES", 5)
    with pytest.raises(PolicyError, match="more than 5 files"):
        guarded(workspace)
