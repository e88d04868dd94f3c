"""Skill servers that die at any of their messages: the model is told, the run goes on, and the log shows it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import half_server
import pytest
from mortal_server import mortal_argv
from perstack.journal.files import FileStore
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.project import Project, RunResult

START, CALLS = (1, 2, 3), (4, 5, 6)
HOW = ("unread", "half", "after")


def mortal(tmp_path: Path, number: int, how: str) -> tuple[Project, Path]:
    log = tmp_path / "effects"
    command, *args = mortal_argv(str(log), number, how)
    table = '[experts.demo]\ninstruction = "Echo."\n[experts.demo.skills.mortal]\ntype = "mcpStdioSkill"\n'
    return Project(tmp_path, f"{table}command = {json.dumps(command)}\nargs = {json.dumps(args)}\n"), log


def echo(text: str) -> Call:
    return Call("echo", {"text": text}, id=f"call-{text}")


SCRIPT = [
    Turn(calls=[echo("a")]),
    Turn(calls=[echo("b"), Call("listDirectory", {"path": "."}, id="call-other")]),
    Turn(calls=[echo("c")]),
    Turn(text="done"),
]


def failed(result: RunResult) -> set[str]:
    """Ids of the calls whose result is an error."""
    finished = result.of("finishToolExecution")
    results = [event["toolResult"] for event in finished]
    return {str(each["id"]) for each in results if isinstance(each, dict) and each.get("isError")}


def texts(result: RunResult) -> list[tuple[str, str]]:
    """Each finished call's tool and what it said, in order."""
    results = [event["toolResult"] for event in result.of("finishToolExecution")]
    return [(str(each["toolName"]), str(each["result"])) for each in results if isinstance(each, dict)]


def taken(log: Path) -> list[str]:
    """The calls that took effect, by the server's own list."""
    return log.read_text().split() if log.exists() else []


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("number", CALLS)
def test_W_10_AM6_a_server_killed_at_any_call_is_an_error_result_and_the_run_goes_on(
    tmp_path: Path, number: int, how: str
) -> None:
    project, log = mortal(tmp_path, number, how)
    with ModelServer(SCRIPT) as server:
        result = project.run("demo", "Echo.", server=server)
    assert (result.exit_code, result.answer) == (0, "done"), result.stderr
    first = number - min(CALLS) + (how == "after")
    lost = {f"call-{text}" for text in "abc"[first:]}
    assert failed(result) == lost, "the calls before, and those of other skills, have their results"
    took_effect = "abc"[: number - min(CALLS) + (how != "unread")]
    assert taken(log) == list(took_effect), "no call was repeated"
    assert len(result.values("finishToolExecution", "toolResult", "id")) == 4
    gone = [text for name, text in texts(result) if name == "echo"][first:]
    assert all("gone" in text for text in gone)
    FileStore(project.state).verify(result.job_id)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("number", START)
def test_W_10_a_server_killed_while_it_starts_fails_the_run_with_its_name_and_a_checkpoint(
    tmp_path: Path, number: int, how: str
) -> None:
    project, _ = mortal(tmp_path, number, how)
    with ModelServer([Turn(calls=[echo("a")]), Turn(text="done")]) as server:
        result = project.run("demo", "Echo.", server=server)
        asked = len(server.requests)
    if (number, how) == (3, "after"):  # its tools are known, so the run is up and its calls fail
        assert (result.exit_code, failed(result)) == (0, {"call-a"}), result.stderr
        return
    assert (result.exit_code, asked) == (2, 0), result.stdout
    assert "'mortal'" in result.stderr
    assert result.values("stopRunByError", "checkpoint", "status") == ("stoppedByError",)
    project.write('[experts.demo]\ninstruction = "Echo."\n')
    with ModelServer([Turn(text="done")]) as server:
        resumed = project.run("demo", "Go on without it.", "--continue", server=server)
    assert (resumed.exit_code, resumed.answer) == (0, "done"), resumed.stderr


def test_W_10_AM6_halves_of_characters_from_a_server_and_from_the_model_end_no_run(tmp_path: Path) -> None:
    table = '[experts.demo]\ninstruction = "Try."\n[experts.demo.skills.half]\ntype = "mcpStdioSkill"\n'
    args = json.dumps([half_server.__file__])
    project = Project(tmp_path, f"{table}command = {json.dumps(sys.executable)}\nargs = {args}\n")
    script = [
        Turn(calls=[Call("half", {})]),
        Turn(calls=[Call("writeTextFile", '{"path": "a.txt", "text": "from the model \\ud83d"}')]),
        Turn(text="done"),
    ]
    with ModelServer(script) as server:
        result = project.run("demo", "Go.", server=server)
    assert (result.exit_code, result.answer) == (0, "done"), result.stderr
    assert result.tool_results["half"] == "said half?"
    assert (project.workspace / "a.txt").read_text() == "from the model ?"
    FileStore(project.state).verify(result.job_id)
