"""What a plugin can do to a run from inside: it may break it, and not what is known of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fake_plugins import install
from perstack.journal.files import FileStore
from perstack.testing.model_server import Call, ModelServer, Refuse, Turn
from perstack.testing.project import Project

BREAKS = """
class Broken:
    async def generate(self, request):
        raise ZeroDivisionError("defect-4f1")
        yield

    async def aclose(self):
        pass

@hookimpl
def perstack_register_providers():
    return [ProviderSpec(name="broken", summary="Breaks.", factory=lambda context: Broken(), default_model="m")]
"""

JUMPS = """
import itertools, time

class Clock:
    # The wall clock as a person, a virtual machine or a time server can set it: a year on, ten years back, to and fro.
    seconds = itertools.cycle([0, 31_536_000, -315_360_000, 86_400, -1, 5])

    def __init__(self, real):
        self._real = real

    def __call__(self):
        return type(self._real())(self._real() + next(self.seconds) * self.unit)

for name, unit in (("time_ns", 10**9), ("time", 1)):
    clock = Clock(getattr(time, name))
    clock.unit = unit
    setattr(time, name, clock)

@hookimpl
def perstack_register_storages():
    return []
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    directory.mkdir()
    return directory


def test_W_10_a_defect_ends_the_run_with_an_event_and_a_checkpoint_to_go_on_from(project: Project, site: Path) -> None:
    install(site, "broken", BREAKS)
    defect = project.run("demo", "Go.", "--provider", "broken", env={"PYTHONPATH": str(site)})
    assert defect.exit_code == 2
    assert "internal error" in defect.stderr
    assert "Traceback" not in defect.stderr
    assert defect.values("stopRunByError", "error", "name") == ("ZeroDivisionError",)
    assert defect.values("stopRunByError", "checkpoint", "status") == ("stoppedByError",)
    with ModelServer([Turn(text="went on")]) as server:
        resumed = project.run("demo", "Go on.", "--continue", server=server)
    assert (resumed.exit_code, resumed.answer) == (0, "went on")


def test_W_40_a_clock_that_jumps_changes_no_order_and_breaks_nothing(project: Project, site: Path) -> None:
    install(site, "clock", JUMPS)
    env = {"PYTHONPATH": str(site)}
    busy = Turn(fault=Refuse(status=503, headers={"Retry-After": "0"}))
    calls = [Call("listDirectory", {"path": "."}), Call("todo", {})]
    with ModelServer([Turn(calls=calls), busy, Turn(calls=calls), Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server, env=env)
    assert (result.exit_code, result.answer) == (0, "done"), result.stderr
    times = [int(str(event["timestamp"])) for event in result.events]
    assert times != sorted(times), "the control: the clock did jump"
    assert max(times) - min(times) > 300 * 86_400_000
    durations = [int(str(event["durationMs"])) for event in result.of("finishToolExecution")]
    assert all(0 <= each < 60_000 for each in durations), "spans are measured by another clock"
    assert result.values("startGeneration", "stepNumber") == (1, 2, 3)
    FileStore(project.state).verify(result.job_id)
    log = project.perstack("log", "--take", "0", env=env)
    assert log.exit_code == 0
    assert re.search(r"\d ms\b", log.stdout), "the control: it shows durations"
    assert not re.search(r"-\d[\d.]* (ms|s|min|h)\b", log.stdout)
    with ModelServer([Turn(text="went on")]) as server:
        resumed = project.run("demo", "Go on.", "--continue", server=server)
    assert (resumed.exit_code, resumed.answer) == (0, "went on"), resumed.stderr
