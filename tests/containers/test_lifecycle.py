"""Sandboxes end with perstack, however it ends, and what is left is found by our labels alone."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from engines import ROOT, SECONDS, box, python
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.waiting import eventually
from perstack_containers.http import EngineFailure

pytestmark = pytest.mark.engine

GONE_SECONDS = 10.0
MOMENTS = 10
ATTEMPTS = 10


def left_over(project, real, pid: int, runs: set[str]) -> list[str]:
    """Containers of a perstack process, and processes and files of its runs."""
    processes = [
        place.name for place in Path("/proc").glob("[0-9]*") if any(run.encode() in command(place) for run in runs)
    ]
    return [*real.containers(pid), *processes, *map(str, project.state.glob("sandboxes/*"))]


def command(place: Path) -> bytes:
    try:
        return (place / "cmdline").read_bytes()
    except OSError:
        return b""


def runs_of(pid: int) -> set[str]:
    """The runs whose reapers this process has started."""
    words = [command(place).split(b"\0") for place in Path("/proc").glob("[0-9]*") if parent(place) == pid]
    return {one[5].decode() for one in words if len(one) > 5 and one[3].endswith(b"perstack_containers/reaper.py")}


def parent(place: Path) -> int:
    try:
        return int((place / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def killed_at_many_moments(hostile, real) -> None:
    hostile.ask("result = 1")  # the image is there
    chance, met = random.Random(7), 0
    for moment in range(MOMENTS):
        with ModelServer([Turn(calls=[Call("hang", {})]), Turn(text="done")]) as server:
            process = hostile.project.start(*hostile.args(), server=server, env=hostile.all_env)
            if moment % 2:
                eventually(lambda pid=process.pid: real.containers(pid), "a container is being made")
            time.sleep(0.1 + chance.random())  # the moment itself is what is tried
            runs = runs_of(process.pid)
            met += bool(real.containers(process.pid))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
        eventually(
            lambda pid=process.pid, runs=runs: not left_over(hostile.project, real, pid, runs),
            f"nothing is left of kill number {moment}",
            seconds=GONE_SECONDS,
        )
    assert met >= MOMENTS // 2, "the control: some kills met containers"


def test_AH1_a_kill_at_any_moment_leaves_nothing_behind(hostile, real) -> None:
    killed_at_many_moments(hostile, real)


@pytest.mark.xdist_group("podman")
def test_AH1_a_private_podman_service_ends_with_a_killed_run(tmp_path) -> None:
    hostile = box(tmp_path, "podman")
    real = hostile.engine
    private = {name: value for name, value in real.env.items() if name != "CONTAINER_HOST"}
    hostile.engine = dataclasses.replace(real, env=private)

    def services() -> list[str]:
        return [
            place.name
            for place in Path("/proc").glob("[0-9]*")
            if b"service\0--time=0\0unix:///tmp/perstack-" in command(place)
        ]

    others = set(services())
    with ModelServer([Turn(calls=[Call("hang", {})]), Turn(text="done")]) as server:
        process = hostile.project.start(*hostile.args(), server=server, env=hostile.all_env)
        eventually(lambda: len(real.containers(process.pid)) == 2, "both skills have sandboxes", seconds=120)
        assert set(services()) - others, "the control: the run has a service of its own"
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    eventually(
        lambda: not set(services()) - others and not real.containers(process.pid),
        "neither the service nor a container is left",
        seconds=GONE_SECONDS,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_AH1_a_signal_ends_the_run_and_its_sandboxes_in_good_order(hostile, real, number) -> None:
    with ModelServer([Turn(calls=[Call("hang", {})]), Turn(text="done")]) as server:
        process = hostile.project.start(*hostile.args(), server=server, env=hostile.all_env)
        eventually(lambda: len(real.containers(process.pid)) == 2, "both skills have sandboxes")
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert real.containers(process.pid) == []
    assert not list(hostile.project.state.rglob("sandboxes/*"))


def test_AH2_gc_removes_what_a_killed_run_left_and_never_anything_else(hostile, real) -> None:
    labels = {"perstack.run": "of-the-past", "perstack.owner": "0", "perstack.supervisor": "other-boot/1/1/1"}
    flags = [f"--label={name}={value}" for name, value in labels.items()]
    foreign = {**labels, "perstack.owner": "4242"}
    env = {**os.environ, **real.env}

    def make(*options: str) -> str:
        done = subprocess.run(
            [real.name, "create", "--network=none", *options, real.base, "true"],
            capture_output=True, text=True, check=True, env=env,
        )  # fmt: skip
        return done.stdout.split()[-1]

    others = [make(), make(*(f"--label={name}={value}" for name, value in foreign.items()))]
    try:
        for _ in range(ATTEMPTS):  # a run that starts at this moment on the same engine may be the one that removes it
            ours = make(*flags)
            done = hostile.project.perstack("gc", "--runtime", real.name, env=hostile.all_env)
            assert done.exit_code == 0, done.stderr
            if ours[:12] in done.stdout:
                break
        assert ours[:12] in done.stdout
        with pytest.raises(EngineFailure):
            real.inspect(ours)
        for other in others:
            assert real.inspect(other)["Id"], "what is not ours, or another user's, stays"
    finally:
        subprocess.run([real.name, "rm", "-f", *others], capture_output=True, check=True, env=env)


def test_AH6_C9_runs_at_the_same_time_see_nothing_of_each_other(tmp_path, name) -> None:
    boxes = [box(tmp_path / str(number), name) for number in range(3)]
    look = "import os\nresult = [sorted(os.listdir('/workspace')), [p for p in os.listdir('/proc') if p.isdigit()]]"
    servers, processes = [], []
    for number, one in enumerate(boxes):
        (one.workspace / f"only-in-{number}").touch()
        server = ModelServer([Turn(calls=[python(look)]), Turn(text="done")])
        servers.append(server)
        processes.append(one.project.start(*one.args(), server=server.__enter__(), env=one.all_env))
    for number, (server, process) in enumerate(zip(servers, processes, strict=True)):
        stdout, stderr = process.communicate(timeout=300)
        server.__exit__(None, None, None)
        assert process.returncode == 0, stderr
        assert f"only-in-{number}" in stdout, "the control: its own files are there"
        assert not [other for other in range(3) if other != number and f"only-in-{other}" in stdout]
    assert ROOT.exists()


def test_AH5_files_of_a_run_are_for_nobody_else_to_list(hostile) -> None:
    with hostile.running():
        (place,) = eventually(lambda: list(hostile.project.state.glob("sandboxes/*")), "the run has a place")
        assert hostile.project.state.stat().st_mode & 0o077 == 0
        assert place.stat().st_mode & 0o066 == 0


def test_AH3_doctor_tells_what_the_engine_is_and_what_a_sandbox_of_it_holds(hostile) -> None:
    done = hostile.project.perstack("doctor", hostile.engine.name, "--json", env=hostile.all_env, timeout=SECONDS)
    assert done.exit_code == 0, done.stdout
    engine, sandbox = (row["detail"] for row in json.loads(done.stdout))
    facts = (
        r"version \d+\.\d+",
        "with root",
        "control groups of version [12]",
        "calls are filtered",
        "image .*: there",
    )
    for fact in facts:
        assert re.search(fact, engine), fact
    for fact in ("limits.memory", "workspace: writable", "reached nothing"):
        assert fact in sandbox
