"""What a skill may do with the workspace: the narrowest of all that anyone asked for, and never without a boundary."""

from __future__ import annotations

import json
from itertools import product

import pytest
from perstack.cli.main import main
from perstack.errors import ConfigError, ControlsMissing
from perstack.skill_policy import MOUNT_MODES
from projects import decision, load, runtime, skill, skill_table, write

MODES = (*MOUNT_MODES, None)


def table(mode: str | None) -> str:
    return "" if mode is None else f'[policy]\nworkspaceMode = "{mode}"\n'


@pytest.mark.parametrize(("user", "project", "own", "option"), list(product(MODES, repeat=4))[::7])
def test_Q11_of_all_modes_that_are_asked_for_the_narrowest_holds(tmp_path, user, project, own, option) -> None:
    declared = "" if own is None else f'workspaceMode = "{own}"'
    loaded = load(
        tmp_path,
        skill_table(declared) + table(project),
        user=table(user),
        overrides={} if option is None else {"policy": {"workspaceMode": option}},
    )
    (mount,) = skill(decision(loaded, on=runtime())).mounts
    asked = [mode for mode in (user, project, own, option) if mode is not None]
    assert mount.mode == min(asked or ["rw"], key=MOUNT_MODES.index)
    if not asked:
        assert str(mount.origin) == "--workspace"


def test_Q11_each_skill_has_its_own_mode_and_says_who_narrowed_it(tmp_path) -> None:
    text = (
        skill_table('workspaceMode = "ro"') + '[experts.writer.skills.other]\ntype = "mcpStdioSkill"\ncommand = "x"\n'
    )
    loaded = load(tmp_path, text, overrides={"policy": {"workspaceMode": "overlay", "relax": ["limits.disk"]}})
    modes = {each.skill: (each.mounts[0].mode, each.mounts[0].origin) for each in decision(loaded, on=runtime()).skills}
    assert modes["tool"][0] == "ro"
    assert str(modes["tool"][1]).endswith("perstack.toml:6")
    assert (modes["other"][0], str(modes["other"][1])) == ("overlay", "--workspace-mode")


def test_a_mode_that_does_not_exist_is_refused_wherever_it_stands(tmp_path) -> None:
    for text in (skill_table('workspaceMode = "wide"'), skill_table("") + table("wide")):
        with pytest.raises(ConfigError, match="workspaceMode"):
            decision(load(tmp_path, text))
    with pytest.raises(ConfigError, match="workspaceMode"):
        load(tmp_path, skill_table("") + table("ro"), user=table("wide"))


@pytest.mark.parametrize("mode", ["ro", "overlay"])
def test_Q11_a_runtime_that_cannot_hold_the_mode_is_refused_and_the_control_is_named(tmp_path, mode) -> None:
    for relaxed in ("", '\nrelax = ["filesystem"]'):
        loaded = load(tmp_path, skill_table(f'workspaceMode = "{mode}"'), user=f"[policy]{relaxed}\n")
        with pytest.raises(ControlsMissing, match="does not enforce filesystem for skill 'tool'") as caught:
            decision(loaded)
        assert f"asks for the workspace as {mode!r}" in caught.value.hint
    assert decision(load(tmp_path, skill_table('workspaceMode = "rw"'))), "the control: it runs skills"


def test_explain_shows_the_mode_and_where_it_comes_from(tmp_path, capsys, monkeypatch) -> None:
    path = write(tmp_path, skill_table("") + table("overlay"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    options = [
        "explain",
        "writer",
        "--config",
        str(path),
        "--runtime",
        "docker",
        "--workspace",
        str(tmp_path),
        "--json",
    ]
    assert main(options) == 0
    (expert,) = json.loads(capsys.readouterr().out)["experts"]
    assert {(m["mode"], m["origin"]) for s in expert["skills"] for m in s["mounts"]} == {("overlay", f"{path}:8")}
    assert main([*options, "--workspace-mode", "ro"]) == 0
    (expert,) = json.loads(capsys.readouterr().out)["experts"]
    assert {(m["mode"], m["origin"]) for s in expert["skills"] for m in s["mounts"]} == {("ro", "--workspace-mode")}
