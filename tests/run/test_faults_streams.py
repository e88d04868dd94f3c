"""Standard streams that are closed, broken or full: they cost what is shown, never what is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from perstack.journal.files import FileStore
from perstack.testing.model_server import Call, Gate, ModelServer, Stall, Turn
from perstack.testing.project import Project

SECONDS = 30.0
WRITE = Turn(calls=[Call("writeTextFile", {"path": "a.txt", "text": "written"})])


def run_with(project: Project, server: ModelServer, redirection: str) -> subprocess.CompletedProcess[str]:
    """``perstack run`` started by a shell, which can close what `subprocess` cannot."""
    command = [sys.executable, "-m", "perstack", *project.run_args("demo", "Go.")]
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *command],
        cwd=project.directory,
        env=project.environment(server, {}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def job_of(project: Project) -> str:
    (job,) = FileStore(project.state).jobs()
    return job


@pytest.mark.parametrize("redirection", ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 1>&- 2>&-", "1>/dev/full"])
@pytest.mark.skipif(sys.platform == "win32", reason="the shell is a POSIX one")
def test_W_10_a_run_without_standard_streams_keeps_its_journal_whole(project: Project, redirection: str) -> None:
    if "full" in redirection and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with ModelServer([WRITE, Turn(text="done")]) as server:
        result = run_with(project, server, redirection)
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr
    store = FileStore(project.state)
    store.verify(job_of(project))
    if "full" in redirection:
        assert result.returncode == 2
        assert "No space left" in result.stderr
        assert server.requests == [], "nothing is done that nobody could see"
        return
    assert result.returncode == 0, result.stderr
    assert (project.workspace / "a.txt").read_text() == "written"
    with ModelServer([Turn(text="went on")]) as server:
        assert project.run("demo", "Go on.", "--continue", server=server).answer == "went on"


@pytest.mark.parametrize("command", [["--version"], ["check"], ["log", "--jobs"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_W_51_a_command_whose_output_does_not_fit_says_so(
    project: Project, command: list[str], unbuffered: str
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "perstack", *command],
            cwd=project.directory,
            env=project.environment(None, {"PYTHONUNBUFFERED": unbuffered}),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "perstack: Standard output could not be written: No space left on device.\n"


def test_W_10_a_reader_that_goes_away_ends_the_run_with_141_and_the_job_goes_on(project: Project) -> None:
    gate = Gate()
    script = [WRITE, Turn(text="unread", fault=Stall(gate=gate))]
    with ModelServer(script) as server, project.start(*project.run_args("demo", "Go."), server=server) as process:
        server.wait_requests(2)
        assert process.stdout is not None
        process.stdout.close()
        gate.open()
        assert process.wait(SECONDS) == 141
        assert process.stderr is not None
        assert "internal error" not in process.stderr.read()
    FileStore(project.state).verify(job_of(project))
    with ModelServer([Turn(text="went on")]) as server:
        resumed = project.run("demo", "Go on.", "--continue", server=server)
    assert (resumed.exit_code, resumed.answer) == (0, "went on")


def test_W_10_a_slow_reader_gets_every_event(project: Project) -> None:
    long = "x" * 200_000
    with ModelServer([Turn(calls=[Call("todo", {"newTodos": [long]})]), Turn(text="done")]) as server:
        process = project.start(*project.run_args("demo", "Go."), server=server)
        server.wait_requests(1)
        assert process.stdout is not None
        count = 0
        while data := os.read(process.stdout.fileno(), 512):
            count += data.count(b"\n")
        assert process.wait(SECONDS) == 0
        process.communicate()
    recorded = FileStore(project.state).verify(job_of(project)).records
    assert count > recorded
