"""Env files: relative to the configuration, later wins, and only what a file in a workspace may decide."""

from __future__ import annotations

import uuid

import pytest
from perstack.errors import ConfigError
from perstack_proxy.envnames import SAFE_NAMES
from projects import EXPERT, load, write


def canary() -> str:
    return uuid.uuid4().hex


def test_W_49_a_later_file_wins_over_an_earlier_one_and_the_process_over_both(tmp_path) -> None:
    write(tmp_path, "A=1\nB=1\nC=1\n", name=".env")
    write(tmp_path, "B=2\nC=2\n", name=".env.local")
    env = load(tmp_path, EXPERT, environ={"C": "3", "EMPTY": ""}).host_env
    assert {name: env.values[name] for name in "ABC"} == {"A": "1", "B": "2", "C": "3"}
    assert str(env.origins["B"]) == f"{tmp_path / '.env.local'}:1"
    assert str(env.origins["C"]) == "environment"
    assert "EMPTY" not in env.values


def test_W_49_AS8_files_lie_beside_the_configuration_and_not_in_the_working_directory(tmp_path) -> None:
    planted, own = canary(), canary()
    write(tmp_path, f"OWN={own}\n", name=".env")
    write(tmp_path, EXPERT)
    workspace = tmp_path / "workspace"
    write(workspace, f"PLANTED={planted}\nOPENAI_BASE_URL=https://{planted}.example\n", name=".env")
    env = load(workspace).host_env
    assert env.values["OWN"] == own
    assert planted not in str(dict(env.values))


def test_AS8_names_that_decide_what_runs_or_where_traffic_goes_are_not_taken_from_files(tmp_path) -> None:
    names = [*SAFE_NAMES, "LD_PRELOAD", "ld_audit", "NODE_OPTIONS", "PERSTACK_RUNTIME", "PERSTACK_PLUGINS"]
    value = canary()
    write(tmp_path, "".join(f"{name}={value}\n" for name in [*names, "CONTROL"]), name=".env")
    loaded = load(tmp_path, EXPERT)
    taken = [name for name, found in loaded.host_env.values.items() if found == value]
    assert taken == ["CONTROL"]
    assert len(loaded.ignored) == len(names)
    assert loaded.project.runtime is None
    assert value not in "".join(map(str, loaded.ignored))


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside.env", "link.env", "sub/../../outside.env", "~/x/../.."])
def test_AC8_a_project_cannot_name_a_file_outside_of_its_directory(tmp_path, path) -> None:
    secret = canary()
    project = tmp_path / "project"
    write(tmp_path, f"A={secret}\n", name="outside.env")
    write(project / "sub", "IN=1\n", name="in.env")
    (project / "link.env").symlink_to(tmp_path / "outside.env")
    inside = load(project, f'envPath = ["sub/in.env"]\n{EXPERT}')
    assert inside.host_env.values["IN"] == "1"
    if path.startswith("~"):  # no shell expands it: a directory called "~"
        path = "~/../../outside.env"
    with pytest.raises(ConfigError, match="outside of the project's directory") as caught:
        load(project, f'envPath = ["{path}"]\n{EXPERT}')
    assert secret not in str(caught.value)
    assert caught.value.problems[0].line == 1


def test_AC8_the_user_may_name_any_file(tmp_path) -> None:
    project = tmp_path / "project"
    outside = write(tmp_path, "A=1\n", name="outside.env")
    by_option = load(project, EXPERT, env_paths=[str(outside)])
    assert by_option.host_env.values["A"] == "1"
    by_settings = load(project, EXPERT, user=f'envPath = ["{outside}"]\n')
    assert by_settings.host_env.values["A"] == "1"


def test_a_file_that_an_option_names_has_to_be_there(tmp_path) -> None:
    assert load(tmp_path, f'envPath = ["gone.env"]\n{EXPERT}').project.experts
    with pytest.raises(ConfigError, match=r"gone\.env: cannot be read"):
        load(tmp_path, EXPERT, env_paths=["gone.env"])


def test_values_do_not_show_when_the_variables_are_printed(tmp_path) -> None:
    secret = canary()
    loaded = load(tmp_path, EXPERT, environ={"A": secret})
    assert loaded.host_env.values["A"] == secret
    assert secret not in repr(loaded)
