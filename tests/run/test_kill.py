"""A job that is killed at any record of its journal goes on, and no effect is lost or repeated behind anyone's back.

The kill is a real SIGKILL of a real process, at each record in turn, before and after it is on disk. A new process goes
on. Effects are counted by the tool server itself. The scripted model is honest: after an interrupted call it looks
before it calls again.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from fake_plugins import install
from perstack.journal.files import FileStore
from perstack.testing.fake_skill import fake_skill_argv
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.project import Project, RunResult, result_of

KILLER = """
import os, signal
from pathlib import Path
from perstack.journal.files import FileStore

class KillingWriter:
    def __init__(self, writer, moment, number):
        self._writer, self._moment, self._left = writer, moment, number
        self.close, self.keep, self.kept = writer.close, writer.keep, writer.kept
    @property
    def head(self):
        return self._writer.head
    def append(self, event):
        self._left -= 1
        if self._left < 0 and self._moment == "synced":
            os.kill(os.getpid(), signal.SIGKILL)
        self._writer.append(event)
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def sync(self):
        self._writer.sync()

class KillingStore(FileStore):
    def __init__(self, place):
        moment, number, path = place.split(",", 2)
        super().__init__(Path(path))
        self._moment, self._number = moment, int(number)
    def create(self, job_id):
        return KillingWriter(super().create(job_id), self._moment, self._number)

@hookimpl
def perstack_register_storages():
    return [StorageSpec(scheme="killing", summary="Ends the process at a record.", factory=KillingStore)]
"""

TASKS = ("alpha", "beta", "gamma", "delta")
DELEGATED = ("delta",)


def project_toml(log: Path) -> str:
    command, *args = fake_skill_argv("--log", str(log), "--tools", "echo")
    server = f'type = "mcpStdioSkill"\ncommand = {json.dumps(command)}\nargs = {json.dumps(args)}\n'
    return (
        '[experts.lead]\ninstruction = "You are the lead."\ndelegates = ["helper"]\n'
        f"[experts.lead.skills.counted]\n{server}"
        '[experts.helper]\ninstruction = "You are the helper."\n'
        f"[experts.helper.skills.counted]\n{server}"
    )


class HonestModel:
    """Does each task once: writes its file, tells the counting server, and looks first where it was interrupted."""

    def __init__(self, effects: Path) -> None:
        self._effects = effects

    def __call__(self, request: ModelRequest) -> Turn:
        tasks = DELEGATED if "You are the helper." in request.system else TASKS[:3]
        results = _results(request)
        batch = [call for task in tasks[:2] for call in self._next(task, results)]
        if batch:
            return Turn(calls=batch)
        rest = [call for task in tasks[2:] for call in self._next(task, results)]
        if rest:
            return Turn(calls=rest)
        if "You are the lead." in request.system and not any(key.startswith("helper") for key in results):
            return Turn(calls=[Call("helper", {"query": "Do delta."}, id="helper-1")])
        return Turn(text="all done")

    def _next(self, task: str, results: dict[str, str]) -> list[Call]:
        tries = [text for key, text in sorted(results.items()) if key.startswith(f"{task}-")]
        if any("Interrupted" not in text for text in tries):
            return []
        if tries and task in effects_of(self._effects):  # it looked, and the effect is there
            return []
        return [Call("echo", {"text": task}, id=f"{task}-{len(tries) + 1}")]


def _results(request: ModelRequest) -> dict[str, str]:
    return {str(m["tool_call_id"]): str(m["content"]) for m in request.body["messages"] if m["role"] == "tool"}


def effects_of(log: Path) -> Counter[str]:
    """How often each task took effect, by the server's own log."""
    if not log.exists():
        return Counter()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return Counter(line["args"]["text"] for line in lines if line["event"] == "start")


def records(project: Project, job_id: str) -> int:
    return len((project.state / "jobs" / job_id / "journal.jsonl").read_text().splitlines())


@pytest.fixture(scope="module")
def length(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Records of the job when nobody disturbs it."""
    directory = tmp_path_factory.mktemp("undisturbed")
    project = Project(directory, project_toml(directory / "log"))
    with ModelServer(HonestModel(directory / "log")) as server:
        result = project.run("lead", "Do all tasks.", server=server)
    assert result.exit_code == 0, result.stderr
    assert effects_of(directory / "log") == Counter(TASKS)
    return records(project, result.job_id)


MOMENTS = ("written", "synced")
PARTS = 6
"""The records are shared out among so many tests, which can run side by side."""


def kills(length: int, part: int) -> list[tuple[int, str]]:
    """The records of one part with the moment at which each kill comes: every other one in CI, both in a soak."""
    numbers = range(part, length, PARTS)
    if os.environ.get("PERSTACK_SOAK"):
        return [(number, moment) for number in numbers for moment in MOMENTS]
    return [(number, MOMENTS[number // PARTS % 2]) for number in numbers]


@pytest.mark.parametrize("part", range(PARTS))
def test_AO6_W_10_a_job_killed_at_any_record_goes_on_with_every_effect_once(
    tmp_path: Path, length: int, part: int
) -> None:
    assert length > 20
    for number, moment in kills(length, part):
        where = f"killed at record {number}, {moment}"
        directory = tmp_path / f"{number}-{moment}"
        site = directory / "site"
        site.mkdir(parents=True)
        install(site, "killing", KILLER)
        log = directory / "log"
        project = Project(directory, project_toml(log))
        with ModelServer(HonestModel(log)) as server:
            place = f"killing://{moment},{number},{project.state}"
            args = project.run_args("lead", "Do all tasks.", "--state-dir", place)
            with project.start(*args, server=server, env={"PYTHONPATH": str(site)}) as process:
                stdout, stderr = process.communicate(timeout=30)
            killed = result_of(process.returncode, stdout, stderr)
            assert killed.exit_code == -signal.SIGKILL, (where, stderr)
            if not has_begun(project):
                continue  # there is nothing to go on with
            resumed = project.run("lead", "Go on.", "--continue", server=server)
        assert resumed.exit_code == 0, (where, resumed.stderr)
        assert effects_of(log) == Counter(TASKS), where
        assert interrupted(resumed) <= in_flight(killed), where
        FileStore(project.state).verify(resumed.job_id)


def has_begun(project: Project) -> bool:
    """Whether the killed job had a run in its journal."""
    return any("startRun" in path.read_text() for path in (project.state / "jobs").glob("*/journal.jsonl"))


def interrupted(result: RunResult) -> set[str]:
    """Ids of calls that the job that went on reported as interrupted."""
    ids = result.values("finishToolExecution", "toolResult", "id")
    texts = result.values("finishToolExecution", "toolResult", "result")
    return {str(call_id) for call_id, text in zip(ids, texts, strict=True) if "Interrupted" in str(text)}


def in_flight(killed: RunResult) -> set[str]:
    """Ids of calls whose end the killed process had not recorded."""
    finished = set(map(str, killed.values("finishToolExecution", "toolResult", "id")))
    return {f"{task}-{attempt}" for task in TASKS for attempt in (1, 2)} - finished
