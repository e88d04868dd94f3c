r"""A project in a directory of its own, and ``perstack`` run in it as a process, as a user would.

Example:
    project = Project(tmp_path, "[experts.demo]\ninstruction = 'Greet.'")
    with ModelServer([Turn(text="hello")]) as server:
        result = project.run("demo", "greet", server=server)
    assert result.answer == "hello"
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.messages import JsonObject, JsonValue

if TYPE_CHECKING:
    from perstack.testing.model_server import ModelServer

SECONDS = 60.0
"""A run that takes longer hangs."""

MODEL_KEY = "model-key-of-the-tests"
PROVIDER = 'model = "scripted"\n[provider]\nproviderName = "openai"\n'


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """A ``perstack`` process that ended.

    Attributes:
        events: The lines of standard output that are JSON objects.
    """

    exit_code: int
    stdout: str
    stderr: str
    events: tuple[JsonObject, ...]

    def of(self, *types: str) -> tuple[JsonObject, ...]:
        """The events of these types, in order."""
        return tuple(event for event in self.events if event["type"] in types)

    def one(self, event_type: str) -> JsonObject:
        """The only event of its type."""
        (event,) = self.of(event_type)
        return event

    def values(self, event_type: str, *path: str) -> tuple[JsonValue, ...]:
        """The values at `path` in the events of a type, in order; ``*`` stands for every item of a list."""
        found: list[JsonValue] = list(self.of(event_type))
        for name in path:
            lists = [value for value in found if isinstance(value, list)]
            tables = [value for value in found if isinstance(value, dict)]
            found = [item for items in lists for item in items] if name == "*" else [table[name] for table in tables]
        return tuple(found)

    @property
    def types(self) -> tuple[JsonValue, ...]:
        """The types of all events, in order."""
        return tuple(event["type"] for event in self.events)

    @property
    def job_id(self) -> str:
        """The job that ran."""
        return str(self.events[0]["jobId"])

    @property
    def answer(self) -> str:
        """The coordinator's answer."""
        return str(self.of("completeRun")[-1]["text"])

    @property
    def tool_results(self) -> dict[str, str]:
        """The text of each finished tool call, by tool name; the newest of a name."""
        found = {}
        for event in self.of("finishToolExecution"):
            one = RunResult(exit_code=0, stdout="", stderr="", events=(event,))
            (name,) = one.values("finishToolExecution", "toolResult", "toolName")
            parts = one.values("finishToolExecution", "toolResult", "result", "*")
            texts = [str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part]
            found[str(name)] = "\n".join(texts)
        return found


class Project:
    """A directory with a ``perstack.toml``, a workspace and a state directory.

    Attributes:
        workspace: Where Experts work.
        state: Where journals are kept, outside the workspace.
    """

    def __init__(self, directory: Path, toml: str, *, provider: str = PROVIDER) -> None:
        self.directory = directory / "project"
        self.workspace = self.directory / "workspace"
        self.state = directory / "state"
        self.workspace.mkdir(parents=True)
        self.write(toml, provider=provider)

    def write(self, toml: str, *, provider: str = PROVIDER) -> None:
        """Replace the configuration."""
        (self.directory / "perstack.toml").write_text(provider + toml, encoding="utf-8")

    def environment(self, server: ModelServer | None, env: Mapping[str, str]) -> dict[str, str]:
        """The variables of a ``perstack`` process: few, so that nothing of the machine decides a test."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SYSTEMROOT") if name in os.environ}
        own = {
            "XDG_CONFIG_HOME": str(self.directory.parent / "config"),
            "PERSTACK_STATE_DIR": str(self.state),
            "OPENAI_API_KEY": MODEL_KEY,
            "ANTHROPIC_API_KEY": MODEL_KEY,
        }
        if server is not None:
            own |= {"OPENAI_BASE_URL": server.openai_url, "ANTHROPIC_BASE_URL": server.anthropic_url}
        return {**kept, **own, **env}

    def start(
        self, *args: str, server: ModelServer | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """A ``perstack`` process in the project's directory; the caller waits for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "perstack", *args],
            cwd=self.directory,
            env=self.environment(server, env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def perstack(
        self,
        *args: str,
        server: ModelServer | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = SECONDS,
    ) -> RunResult:
        """A ``perstack`` process that ended.

        Raises:
            subprocess.TimeoutExpired: It did not within `timeout` seconds; it was killed.
        """
        with self.start(*args, server=server, env=env) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return result_of(process.returncode, stdout, stderr)

    def run(
        self,
        expert: str,
        query: str,
        *options: str,
        server: ModelServer | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = SECONDS,
    ) -> RunResult:
        """``perstack run`` on the local runtime in the project's workspace."""
        return self.perstack(*self.run_args(expert, query, *options), server=server, env=env, timeout=timeout)

    def run_args(self, expert: str, query: str, *options: str) -> tuple[str, ...]:
        """The command line of `run`."""
        return ("run", "--runtime", "local", "--workspace", str(self.workspace), *options, "--", expert, query)


def result_of(exit_code: int, stdout: str, stderr: str) -> RunResult:
    """A result from what a process left."""
    events = [json.loads(line) for line in stdout.splitlines() if line.startswith('{"')]
    return RunResult(exit_code=exit_code, stdout=stdout, stderr=stderr, events=tuple(events))
