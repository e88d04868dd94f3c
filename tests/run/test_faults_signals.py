"""Signals at the moments that matter: whatever a job is doing, it ends with its processes and can go on."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conversations import answered_in_order
from perstack.journal.files import FileStore
from perstack.testing.fake_skill import fake_skill_argv
from perstack.testing.model_server import Call, ModelServer, Refuse, Turn, When
from perstack.testing.probe import probe_argv
from perstack.testing.project import Project, result_of
from perstack.testing.waiting import eventually
from skills import runs

DEADLINE_SECONDS = 20.0
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143, signal.SIGKILL: -signal.SIGKILL}
BLOCK = Call("block", {"name": "never"}, id="call-block")
MOMENTS = {
    "calling": [Turn(calls=[BLOCK, Call("listDirectory", {"path": "."}, id="call-quick")])],
    "delegating": [
        Turn(when=When(system="are the lead"), calls=[Call("helper", {"query": "Help."}, id="call-helper")]),
        Turn(when=When(system="are the helper"), calls=[BLOCK]),
    ],
    "backing off": [Turn(fault=Refuse(status=503, headers={"Retry-After": "50"}), times=None)],
    "starting": [Turn(text="never asked")],
}
SEEN = {"backing off": '"type":"retry"', "starting": '"skillName":"slow"'}
"""What standard output has said when the moment has come; calls are seen by the skill instead."""


def team(tmp_path: Path) -> str:
    """A lead with a helper, both with a skill that can block."""
    blocking = fake_skill_argv("--log", str(tmp_path / "calls"), "--release", str(tmp_path), "--tools", "block")
    return (
        '[experts.helper]\ninstruction = "You are the helper."\n'
        + skill("helper", "blocking", blocking)
        + '[experts.lead]\ninstruction = "You are the lead."\ndelegates = ["helper"]\n'
        + skill("lead", "blocking", blocking)
    )


def skill(expert: str, name: str, argv: tuple[str, ...]) -> str:
    command, *args = argv
    return (
        f'[experts.{expert}.skills.{name}]\ntype = "mcpStdioSkill"\n'
        f"command = {json.dumps(command)}\nargs = {json.dumps(args)}\n"
    )


def started(project: Project, server: ModelServer) -> subprocess.Popen[str]:
    return project.start(*project.run_args("lead", "Go."), server=server)


def wait_for(moment: str, process: subprocess.Popen[str], log: Path) -> str:
    """Returns at the moment, with what was read of standard output."""
    if moment not in SEEN:
        eventually(log.exists, "the skill is called")
        return ""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if SEEN[moment] in line:
            break
    return "".join(lines)


def pids(log: Path) -> Iterator[int]:
    for line in log.read_text().splitlines() if log.exists() else []:
        yield json.loads(line)["pid"]


@pytest.mark.parametrize("number", CODES, ids=[number.name for number in CODES])
@pytest.mark.parametrize("moment", MOMENTS)
def test_W_55_a_signal_at_any_moment_ends_all_processes_and_the_job_goes_on(
    tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    log = tmp_path / "calls"
    slow = skill("lead", "slow", probe_argv("--start", "hang")) if moment == "starting" else ""
    project = Project(tmp_path, team(tmp_path) + slow)
    with ModelServer(MOMENTS[moment]) as server, started(project, server) as process:
        read = wait_for(moment, process, log)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    result = result_of(process.returncode, read + stdout, stderr)
    assert result.exit_code == CODES[number], stderr
    eventually(lambda: not any(runs(pid) for pid in pids(log)), "the skill's processes have ended")
    store = FileStore(project.state)
    store.verify(result.job_id)
    if number is not signal.SIGKILL and moment != "starting":
        stopped = result.of("stopRunByCancellation")
        assert {str(event["expertKey"]) for event in stopped} >= {"helper" if moment == "delegating" else "lead"}
        assert f"--continue-job {result.job_id}" in stderr
    if not any(b'"startRun"' in record.event for record in store.read(result.job_id)):
        return  # it had not begun
    project.write(team(tmp_path))
    with ModelServer([Turn(text="went on", times=None)]) as server:
        resumed = project.run("lead", "Go on.", "--continue", server=server)
        assert (resumed.exit_code, resumed.answer) == (0, "went on"), resumed.stderr
        assert all(answered_in_order(request) for request in server.requests)


@pytest.mark.parametrize("moment", ["calling", "delegating"])
def test_W_55_impatience_neither_loses_the_checkpoint_nor_leaves_processes(tmp_path: Path, moment: str) -> None:
    log = tmp_path / "calls"
    project = Project(tmp_path, team(tmp_path))
    with ModelServer(MOMENTS[moment]) as server, started(project, server) as process:
        wait_for(moment, process, log)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)
        stdout, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    result = result_of(process.returncode, stdout, stderr)
    assert result.exit_code in (130, 143), stderr
    assert result.of("stopRunByCancellation")
    assert "Traceback" not in stderr
    eventually(lambda: not any(runs(pid) for pid in pids(log)), "the skill's processes have ended")
    FileStore(project.state).verify(result.job_id)
