"""The guard in whole runs: what it denies does not happen, and what it lets pass does."""

from __future__ import annotations

import json
import uuid

import pytest
from perstack.errors import ExitCode
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.probe import probe_argv
from perstack.testing.project import Project

EXPERT = '[experts.e]\ninstruction = "Tidy up."\n'


def deny(path: str, reason: str) -> str:
    return f"""
[[plugins.example-guard.deny]]
skill = "@perstack/base"
tool = "delete*"
arguments = {{ path = "{path}" }}
reason = "{reason}"
"""


def test_a_denied_call_does_nothing_and_the_model_reads_the_reason(tmp_path) -> None:
    reason = f"Documents stay {uuid.uuid4().hex}."
    project = Project(tmp_path, EXPERT + deny("*.md", reason))
    for name in ("kept.md", "gone.txt"):
        (project.workspace / name).write_text("x")
    calls = [Call("deleteFile", {"path": name}) for name in ("kept.md", "gone.txt")]

    with ModelServer([Turn(calls=calls), Turn(text="done")]) as server:
        result = project.run("e", "tidy", server=server)

    assert result.exit_code == 0, result.stderr
    assert [path.name for path in project.workspace.iterdir()] == ["kept.md"]
    denied, done = server.requests[1].tool_results
    assert reason in denied
    assert "example-guard" in denied
    assert reason not in done


@pytest.mark.parametrize(("options", "made"), [((), False), (("--approve", "@perstack/base:createDirectory"), True)])
def test_a_call_that_is_asked_about_is_made_only_with_a_yes(tmp_path, options, made) -> None:
    ask = '[[plugins.example-guard.ask]]\ntool = "createDirectory"\nreason = "A new directory."\n'
    project = Project(tmp_path, EXPERT + ask)
    with ModelServer([Turn(calls=[Call("createDirectory", {"path": "new"})]), Turn(text="done")]) as server:
        result = project.run("e", "go", *options, server=server)
    assert result.exit_code == 0, result.stderr
    assert (project.workspace / "new").is_dir() is made
    assert ("A new directory." in server.requests[1].tool_results[0]) is not made


def test_a_denied_variable_refuses_the_run_and_without_the_guard_the_skill_gets_it(tmp_path) -> None:
    command, *args = probe_argv()
    skill = f"""
[experts.e.skills.probe]
type = "mcpStdioSkill"
command = "{command}"
args = {json.dumps(args)}
pick = ["environment"]
requiredEnv = ["PROD_KEY"]
"""
    project = Project(tmp_path, EXPERT + skill + '[plugins.example-guard]\ndenyEnv = ["PROD_*"]\n')
    env = {"PROD_KEY": uuid.uuid4().hex}
    with ModelServer([Turn(calls=[Call("environment", {})]), Turn(text="done")]) as server:
        refused = project.run("e", "go", server=server, env=env)
        assert refused.exit_code == ExitCode.REFUSED
        assert "PROD_KEY" in refused.stderr
        assert "example-guard" in refused.stderr
        assert env["PROD_KEY"] not in refused.stderr + refused.stdout
        assert server.requests == []

        without = {**env, "PERSTACK_PLUGINS": "provider-openai,runtime-local"}
        assert project.run("e", "go", server=server, env=without).exit_code == 0
        assert "PROD_KEY" in server.requests[1].tool_results[0]


def test_settings_that_the_guard_cannot_read_stop_the_run_with_the_line(tmp_path) -> None:
    project = Project(tmp_path, EXPERT + '[plugins.example-guard]\nforbid = ["x"]\n')
    with ModelServer([Turn(text="done")]) as server:
        result = project.run("e", "go", server=server)
    assert result.exit_code == ExitCode.USAGE
    assert "forbid is unknown" in result.stderr
    assert "perstack.toml:" in result.stderr
    assert server.requests == []
