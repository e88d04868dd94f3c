"""A disk that is full: nothing that was confirmed is lost, nothing is done that cannot be recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conversations import answers, effects
from perstack.journal.files import FileStore
from perstack.testing.fake_skill import fake_skill_argv
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.project import Project, RunResult
from small_disk import small_disk

STEPS = 8


def counted(tmp_path: Path) -> tuple[Project, Path]:
    log = tmp_path / "calls"
    command, *args = fake_skill_argv("--log", str(log), "--tools", "echo")
    table = '[experts.demo]\ninstruction = "Count."\n[experts.demo.skills.counted]\ntype = "mcpStdioSkill"\n'
    return Project(tmp_path, f"{table}command = {json.dumps(command)}\nargs = {json.dumps(args)}\n"), log


def model(request: ModelRequest) -> Turn:
    """Takes `STEPS` steps whose calls are so long that each fills a page, and ends."""
    number = answers(request)
    return Turn(calls=[Call("echo", {"text": f"{number}:" + "x" * 3000})]) if number < STEPS else Turn(text="counted")


@pytest.mark.parametrize("kibibytes", [4, 8, 12, 16, 20, 28, 36, 44, 52])
def test_W_40_a_full_disk_ends_the_run_with_an_intact_journal_and_the_job_goes_on_with_more_room(
    tmp_path: Path, kibibytes: int
) -> None:
    project, log = counted(tmp_path)
    with small_disk(tmp_path / "disk", kibibytes=kibibytes) as disk, ModelServer(model) as server:
        project.state = disk.path / "state"
        full = project.run("demo", "Count.", server=server)
        assert full.exit_code == 2, full.stdout
        assert "No space left" in full.stderr
        assert "internal error" not in full.stderr
        assert "Traceback" not in full.stderr
        done = effects(log)
        disk.resize(4096)
        store = FileStore(project.state)
        jobs = [job for job in store.jobs() if store.verify(job).records]
        began = [job for job in jobs if any(b'"startRun"' in record.event for record in store.read(job))]
        arguments = ["--continue"] if began else []
        assert bool(began) or not done, "nothing was done that is not recorded"
        resumed = project.run("demo", "Go on.", *arguments, server=server)
        assert (resumed.exit_code, resumed.answer) == (0, "counted"), resumed.stderr
        recorded = sum(b'"callTools"' in record.event for record in store.read(resumed.job_id))
    assert set(effects(log).values()) == {1}, "no effect was repeated"
    assert len(effects(log)) == recorded == STEPS


def results(result: RunResult) -> list[dict[str, object]]:
    found = [event["toolResult"] for event in result.of("finishToolExecution")]
    return [each for each in found if isinstance(each, dict)]


def test_a_full_workspace_is_an_error_result_that_the_model_sees(tmp_path: Path) -> None:
    project, _ = counted(tmp_path)
    with small_disk(tmp_path / "disk", kibibytes=64) as disk:
        project.workspace = disk.path
        calls = [Call("writeTextFile", {"path": "large", "text": "x" * 200_000})]
        small = [Call("writeTextFile", {"path": "small", "text": "y"})]
        with ModelServer([Turn(calls=calls), Turn(calls=small), Turn(text="it is full")]) as server:
            result = project.run("demo", "Write.", server=server)
            said = server.requests[1].said
        assert (result.exit_code, result.answer) == (0, "it is full"), result.stderr
        assert "space" in said
        assert [part["isError"] for part in results(result)[:1]] == [True]
