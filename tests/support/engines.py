"""Container engines for tests: what scripts/engines brought up, and runs of perstack that attack their sandboxes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from perstack.staging.copies import NEVER_ROOT
from perstack.testing import probe
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.project import Project, RunResult
from perstack.testing.waiting import eventually
from perstack_containers.context import sandbox_files
from perstack_containers.http import EngineFailure, call, containers
from perstack_containers.image import Recipe, base_image
from perstack_containers.labels import RUN, SKILL, SUPERVISOR
from repository import ROOT

SECONDS = 300.0
"""The first run of a session builds the image."""
REPORT = ROOT / "build" / "engines.json"
CACHE = ROOT / "build" / "cache"
PICKED = ("python", "hang", "raw", "spawn", "stderr", "crash")
EXPERT = '[experts.box]\ninstruction = "Try everything."\n'


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A real engine. `env` makes perstack and the engine's own command find it."""

    name: str
    address: str
    env: Mapping[str, str]

    def containers(self, pid: int) -> list[str]:
        """Ids of the containers of that perstack process, of which others on this machine may have more."""
        found = containers(self.address, {RUN: ""})
        return [name for name, labels in found if labels.get(SUPERVISOR, "").split("/")[2:3] == [str(pid)]]

    def inspect(self, container: str) -> dict:
        return call(self.address, "GET", f"/containers/{container}/json")

    @property
    def base(self) -> str:
        """What images start from here, where no registry answers."""
        return base_image(self.env)

    @property
    def image(self) -> str:
        """The sandbox image of the tests' user; a run of perstack made it."""
        return self.image_of(NEVER_ROOT)

    def image_of(self, user: int) -> str:
        """The sandbox image of a user and the group of that number."""
        sandbox_files.cache_clear()  # in a working tree they may have changed since
        return Recipe(uid=user, gid=user, base=self.base).tag

    def bare(self, source: str, *options: str, image: str | None = None) -> object:
        """What a program finds in a container of this engine without any of our flags but `options`: the control."""
        program = f"import json\n{source}\nprint(json.dumps(result))"
        command = [self.name, "run", "--rm", "--network=none", *options, image or self.image, "python3", "-c", program]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **self.env}
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


def engine(name: str, *, at: str | None = None) -> Engine:
    """The engine of that name, or another of its kind at `at`.

    A machine without it fails the test, because a boundary that was not tried is none.
    """
    if not REPORT.exists():
        pytest.fail("no engines: run scripts/engines first, as `make test` does")
    report = json.loads(REPORT.read_text())[at or name]
    return Engine(name=name, address=report["host"].removeprefix("unix://"), env=report["env"])


@dataclass
class Box:
    """A project whose hostile skill runs in a sandbox of `engine`."""

    engine: Engine
    project: Project
    env: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.project.workspace

    def skill(self, name: str = "probe", extra: str = "", pick: Sequence[str] = PICKED) -> str:
        """A table that starts the probe from the workspace."""
        return (
            f'[experts.box.skills.{name}]\ntype = "mcpStdioSkill"\ncommand = "python3"\n'
            f'args = ["-I", "/workspace/probe.py"]\npick = {json.dumps(list(pick))}\n{extra}\n'
        )

    def write(self, *skills: str, top: str = "") -> None:
        """The project's configuration: one Expert with these skills."""
        self.project.write(top + EXPERT + "".join(skills or (self.skill(),)))

    def run(
        self, *calls: Call, options: Sequence[str] = (), runtime: str | None = None, text: str = "done"
    ) -> RunResult:
        """A whole run in which the model makes `calls`, all in one step."""
        turns = [Turn(calls=list(calls)), Turn(text=text)] if calls else [Turn(text=text)]
        with ModelServer(turns) as server:
            return self.project.perstack(
                *self.args(*options, runtime=runtime), server=server, env=self.all_env, timeout=SECONDS
            )

    def args(self, *options: str, runtime: str | None = None) -> tuple[str, ...]:
        place = ("--runtime", runtime or self.engine.name, "--workspace", str(self.workspace))
        return ("run", *place, *options, "--", "box", "go")

    @property
    def all_env(self) -> dict[str, str]:
        return {**self.engine.env, "PERSTACK_CACHE_DIR": str(CACHE), **self.env}

    def ask(self, *sources: str, options: Sequence[str] = ()) -> list[object]:
        """What each program found inside, as one tool call each, in one run."""
        result = self.run(*(python(source) for source in sources), options=options)
        assert result.exit_code == 0, result.stderr
        return answers(result)

    def local(self, source: str) -> object:
        """What the same program finds on the local runtime: the control."""
        self.project.write(EXPERT + self.skill().replace("/workspace/probe.py", str(self.workspace / "probe.py")))
        result = self.run(python(source), runtime="local")
        assert result.exit_code == 0, result.stderr
        self.write()
        return answers(result)[0]

    def container(self, process: subprocess.Popen[str], skill: str = "probe") -> str:
        """The container of a run's skill, once the skill itself runs in it."""

        def find() -> str | None:
            for name in self.engine.containers(process.pid):
                try:
                    state = self.engine.inspect(name)
                except EngineFailure:  # gone since it was listed
                    continue
                first = state["State"].get("Pid")
                if state["Config"]["Labels"].get(SKILL) == skill and first and children(first):
                    return name
            return None

        return str(eventually(find, f"{skill} runs"))

    @contextmanager
    def running(self, *calls: Call) -> Iterator[subprocess.Popen[str]]:
        """A run whose first step hangs in a tool, so that it can be looked at from outside."""
        with ModelServer([Turn(calls=[*calls, Call("hang", {})]), Turn(text="done")]) as server:
            process = self.project.start(*self.args(), server=server, env=self.all_env)
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.communicate(timeout=60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()


def box(tmp_path: Path, name: str, *, at: str | None = None) -> Box:
    """A box with the probe as its only skill beside the base skill."""
    made = Box(engine=engine(name, at=at), project=Project(tmp_path, ""))
    shutil.copy(probe.__file__, made.workspace / "probe.py")
    made.write()
    return made


def children(pid: int) -> list[str]:
    """The processes that a process has started, as this machine numbers them."""
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []


def python(source: str) -> Call:
    return Call("python", {"source": source})


def answers(result: RunResult) -> list[object]:
    """What the tools of the first step answered, in call order, out of their JSON."""
    found = []
    for answer in result.values("resolveToolResults", "toolResults", "*", "result", "*", "text"):
        try:
            found.append(json.loads(str(answer)))
        except ValueError:
            found.append(answer)
    return found
