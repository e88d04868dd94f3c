"""How a run ends: exit codes, budgets, failures of the model, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from perstack.testing.model_server import Call, Gate, ModelServer, Refuse, Stall, Turn
from perstack.testing.project import Project, result_of

MORE = Turn(calls=[Call("listDirectory", {"path": "."})], times=None)


def test_T17_Q10_a_model_that_never_stops_is_stopped_at_exactly_max_steps(project: Project) -> None:
    with ModelServer([MORE]) as server:
        result = project.run("demo", "Go.", "--max-steps", "3", server=server)
    assert result.exit_code == 3
    assert len(server.requests) == 3
    assert result.values("stopRunByExceededMaxSteps", "checkpoint", "status") == ("stoppedByExceededMaxSteps",)
    assert len(result.of("finishToolExecution")) == 3, "the last step's calls are served too"


def test_W_06_a_failed_run_exits_with_2(project: Project) -> None:
    with ModelServer([Turn(fault=Refuse(status=401, message="bad key"))]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 2
    assert result.values("stopRunByError", "error", "statusCode") == (401,)


def test_W_31_the_reason_of_a_failure_is_in_the_stored_checkpoint(project: Project) -> None:
    with ModelServer([Turn(fault=Refuse(status=400, message="REASON-5e"))]) as server:
        result = project.run("demo", "Go.", server=server)
    (journal,) = (project.state / "jobs" / result.job_id).glob("journal.jsonl")
    assert "REASON-5e" in journal.read_text()


def test_W_17_a_failure_that_passes_is_retried_outside_of_the_conversation(project: Project) -> None:
    busy = Turn(fault=Refuse(status=429, headers={"Retry-After": "0"}), times=2)
    with ModelServer([busy, Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert (result.exit_code, result.answer) == (0, "done")
    assert result.values("retry", "attempt") == (1, 2)
    assert result.values("startGeneration", "stepNumber") == (1,), "retries cost no steps"
    assert server.requests[0].body["messages"] == server.requests[2].body["messages"]


def test_W_17_there_is_one_layer_of_retries(project: Project) -> None:
    with ModelServer([Turn(fault=Refuse(status=503, headers={"Retry-After": "0"}), times=None)]) as server:
        result = project.run("demo", "Go.", "--max-retries", "2", server=server)
    assert result.exit_code == 2
    assert len(server.requests) == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_W_55_a_signal_leaves_a_checkpoint_and_its_own_exit_code(
    project: Project, number: signal.Signals, code: int
) -> None:
    gate = Gate()
    with ModelServer([Turn(text="never", fault=Stall(gate=gate))]) as server:
        process = project.start(*project.run_args("demo", "Go."), server=server)
        server.wait_requests(1)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
        gate.open()
    result = result_of(process.returncode, stdout, stderr)
    assert result.exit_code == code
    assert result.values("stopRunByCancellation", "checkpoint", "status") == ("cancelled",)
    with ModelServer([Turn(text="back again")]) as server:
        resumed = project.run("demo", "Go on.", "--continue", server=server)
    assert (resumed.exit_code, resumed.answer) == (0, "back again")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="terminals end otherwise here")
def test_W_55_a_run_under_nohup_outlives_its_terminal(project: Project) -> None:
    gate = Gate()
    with ModelServer([Turn(text="went on", fault=Stall(gate=gate))]) as server:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            process = project.start(*project.run_args("demo", "Go."), server=server)
        finally:
            signal.signal(signal.SIGHUP, before)
        server.wait_requests(1)
        process.send_signal(signal.SIGHUP)
        gate.open()
        stdout, stderr = process.communicate(timeout=60)
    result = result_of(process.returncode, stdout, stderr)
    assert (result.exit_code, result.answer) == (0, "went on")


def test_a_generation_that_takes_too_long_is_an_error(project: Project) -> None:
    gate = Gate()
    with ModelServer([Turn(text="late", fault=Stall(gate=gate), times=None)]) as server:
        result = project.run("demo", "Go.", "--timeout", "300", "--max-retries", "0", server=server)
        gate.open()
    assert result.exit_code == 2
    assert result.values("stopRunByError", "error", "isRetryable") == (True,)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--max-steps", "10abc"], "whole number"),
        (["--reasoning-budget", "lots"], "reasoningBudget"),
        (["--continue", "--job-id", "x"], "--job-id"),
        (["--resume-from", "c"], "--continue-job"),
        (["--runtime", "warp"], "warp"),
        (["--job-id", "../../x"], "job id"),
        (["--workspace", "nowhere"], "nowhere"),
        (["--state-dir", "workspace/state"], "lies in the workspace"),
        (["--state-dir", "/dev/null"], "Not a directory ('/dev/null')"),
    ],
)
def test_W_51_AO8_a_mistake_on_the_command_line_is_one_message_and_exit_code_1(
    project: Project, args: list[str], said: str
) -> None:
    with ModelServer([Turn(text="done", times=None)]) as server:
        result = project.perstack(
            "run", "--runtime", "local", "--workspace", str(project.workspace), *args, "demo", "Go.", server=server
        )
        assert result.exit_code == 1, result.stderr
        assert said in result.stderr
        assert "Traceback" not in result.stderr
        assert server.requests == []
        assert project.run("demo", "Go.", server=server).exit_code == 0


def test_an_unknown_expert_is_named_with_what_there_is(project: Project) -> None:
    result = project.run("demmo", "Go.")
    assert result.exit_code == 1
    assert "did you mean 'demo'" in result.stderr.lower()


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="there, an argument cannot hold such bytes")
def test_AM14_a_query_that_is_no_text_is_refused_and_one_that_looks_like_an_option_is_a_query(project: Project) -> None:
    with ModelServer([Turn(text="done")]) as server:
        refused = project.run("demo", os.fsdecode(b"a\xffb"), server=server)
        assert (refused.exit_code, server.requests) == (1, [])
        assert "The query is not UTF-8" in refused.stderr
        unmarked = project.perstack("run", "--runtime", "local", "demo", "-x", server=server)
        assert "comes last, after '--'" in unmarked.stderr
        assert project.run("demo", "--config=x", server=server).exit_code == 0
        assert "--config=x" in server.requests[0].said


@pytest.mark.parametrize(
    ("variable", "value"), [("OPENAI_BASE_URL", "nowhere"), ("OPENAI_BASE_URL", "http://models.example/v1")]
)
def test_W_06_a_setting_that_cannot_work_ends_with_1_and_what_to_do_and_is_on_record(
    project: Project, variable: str, value: str
) -> None:
    result = project.run("demo", "Go.", env={variable: value})
    assert result.exit_code == 1
    assert variable in result.stderr
    assert "https" in result.stderr
    assert result.values("stopRunByError", "error", "name") == ("ConfigError",)


@pytest.mark.skipif(sys.platform == "win32", reason="there, a directory in use cannot be removed")
@pytest.mark.parametrize("command", ["check", "explain demo", "run demo Go", "plugins list"])
def test_W_51_a_working_directory_that_is_gone_is_said_to_be_gone(tmp_path: Path, command: str) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    perstack = f"{sys.executable} -m perstack {command}"
    done = subprocess.run(
        ["/bin/sh", "-c", f"rmdir ../gone; exec {perstack}"],
        cwd=gone,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "The working directory does not exist any more." in done.stderr
