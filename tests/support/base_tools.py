"""The base tools as a test calls them, the same on every runtime: a server of its own, or a whole `perstack run`.

A runtime joins by one line in `RUNTIMES`: what starts it, whether tests share one, and what it leaves out and why.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from engines import CACHE, engine
from perstack.staging.copies import NEVER_ROOT
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack_proxy import jsonrpc
from perstack_proxy.jsonrpc import Notification, Request, Response

DEADLINE_SECONDS = 20.0
MARKED = re.compile(r"<from_skill [^>]*>\n(.*)\n</from_skill>", re.DOTALL)
"""What a skill says, as the model reads it."""
COMMAND = [sys.executable, "-I", "-m", "perstack_skill_base"]
PERSTACK = Path(sys.executable).with_name("perstack")
PROJECT = """\
model = "scripted"
[provider]
providerName = "openai"
[experts.tester]
instruction = "Test."
[experts.tester.skills."@perstack/base"]
"""


class Result:
    """A tool's result: its members, whether it is an error, and the other content where the way shows it."""

    def __init__(self, data, *, is_error, wire=None):
        self.data = data
        self.is_error = is_error
        self.wire = data if wire is None else wire
        self.parts = wire["content"][1:] if wire else []

    def __getitem__(self, name):
        return self.data[name]

    def __repr__(self):
        return f"Result({self.data!r}, is_error={self.is_error})"


class Tools:
    """Calls of tools; `together` is what a way has to offer."""

    def together(self, *calls, seconds=DEADLINE_SECONDS):
        """The results of calls, each a name and its arguments, that run at the same time."""
        raise NotImplementedError

    def call(self, tool, /, **arguments):
        return self.together((tool, arguments))[0]

    def ok(self, tool, /, **arguments):
        result = self.call(tool, **arguments)
        assert not result.is_error, result
        return result

    def refused(self, tool, /, **arguments):
        """The kind and the text of the error that the tool answered with."""
        result = self.call(tool, **arguments)
        assert result.is_error, result
        return result["error"], result["message"]


class Server(Tools):
    """The server as a process, and a client of it that never waits without end."""

    def __init__(self, cwd, *, env=None, command=COMMAND):
        self.process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.pid = self.process.pid
        self.notifications = []
        self._splitter = jsonrpc.LineSplitter(jsonrpc.CLIENT_LIMITS.line_bytes)
        self._answers = {}
        self._next = 0
        self.request(
            "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "t", "version": "1"}
        )
        self.notify("notifications/initialized")

    def write(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def notify(self, method, **params):
        self.write(jsonrpc.encode(Notification(method, params)))

    def start(self, method, **params):
        self._next += 1
        self.write(jsonrpc.encode(Request(self._next, method, params)))
        return self._next

    def read(self, seconds=DEADLINE_SECONDS):
        """The next message, or None at the end of the stream."""
        deadline = time.monotonic() + seconds
        while (line := self._splitter.next_line()) is None:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no message within {seconds} s")
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                return None
            self._splitter.feed(data)
        return jsonrpc.decode(line)

    def answer(self, ident, seconds=DEADLINE_SECONDS):
        """The response to a request, whatever else arrives before it."""
        while ident not in self._answers:
            message = self.read(seconds)
            if isinstance(message, Notification):
                self.notifications.append(message)
                continue
            assert isinstance(message, Response), f"the stream ended or held {message!r}"
            self._answers[message.id] = message
        return self._answers.pop(ident)

    def request(self, method, **params):
        return self.answer(self.start(method, **params))

    def begin(self, tool, /, **arguments):
        return self.start("tools/call", name=tool, arguments=arguments)

    def finish(self, ident, seconds=DEADLINE_SECONDS):
        response = self.answer(ident, seconds)
        assert response.error is None, response.error
        wire = response.result
        return Result(wire["structuredContent"], is_error=wire.get("isError", False), wire=wire)

    def together(self, *calls, seconds=DEADLINE_SECONDS):
        idents = [self.begin(tool, **arguments) for tool, arguments in calls]
        return [self.finish(ident, seconds) for ident in idents]

    def close(self):
        """The server's exit code after its input has ended."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            return self.process.wait(DEADLINE_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process.stderr.close()


class RunTools(Tools):
    """The base tools of a whole run: its model makes the calls that the test asks for, one answer after the other."""

    def __init__(self, workspace, state, *, runtime, env=None, policy=None, project=None):
        project = project or workspace
        (project / "perstack.toml").write_text(PROJECT + toml_of(policy or {}))
        self._calls: queue.Queue[Turn] = queue.Queue()
        self._results: queue.Queue[Sequence[str]] = queue.Queue()
        self._asked = threading.Event()
        self._model = ModelServer(self._answer)
        self._model.__enter__()
        values = {"OPENAI_API_KEY": "key-of-no-value-at-all", "OPENAI_BASE_URL": self._model.openai_url}
        words = ["run", "tester", "go", "--runtime", runtime, "--state-dir", str(state), "--max-steps", "100000"]
        self.process = subprocess.Popen(
            [str(PERSTACK), *words, "--workspace", str(workspace)],
            cwd=project,
            env={**os.environ, **(env or {}), **values},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        # What a test puts into the workspace, which is the project as well, must not be read as its configuration.
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self._asked.wait(0.05) and self.process.poll() is None and time.monotonic() < deadline:
            pass

    def _answer(self, request):
        self._asked.set()
        if request.index:
            self._results.put(request.tool_results)
        return self._calls.get()

    def together(self, *calls, seconds=DEADLINE_SECONDS):
        self._calls.put(Turn(calls=[Call(tool, arguments) for tool, arguments in calls]))
        deadline = time.monotonic() + seconds + DEADLINE_SECONDS  # the first call waits for the run to start
        while self.process.poll() is None or not self._results.empty():
            try:
                return [_read(text) for text in self._results.get(timeout=0.2)]
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no result within {seconds} s") from None
        raise AssertionError(f"the run ended: {self.process.stderr.read().decode()}")

    def close(self):
        self._calls.put(Turn(text="done"))
        try:
            self.process.wait(DEADLINE_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()
            self._calls.put(Turn(text="done"))
            self._model.__exit__(None, None, None)


class ContainedTools(RunTools):
    """The base tools of a run in a container, whose user owns the workspace; so they get what a test puts there."""

    def __init__(self, workspace, state, *, runtime, env=None, policy=None):
        self._workspace = workspace
        project = state.with_name("project")
        project.mkdir(exist_ok=True)
        self._hand_over()
        env = {**engine(runtime).env, "PERSTACK_CACHE_DIR": str(CACHE), **(env or {})}
        super().__init__(workspace, state, runtime=runtime, env=env, policy=policy, project=project)

    def together(self, *calls, seconds=DEADLINE_SECONDS):
        self._hand_over()
        return super().together(*calls, seconds=seconds)

    def _hand_over(self):
        for place in (self._workspace, *self._workspace.rglob("*")):
            os.chown(place, NEVER_ROOT, NEVER_ROOT, follow_symlinks=False)


def _read(text):
    """A result as the model sees it: the tool's JSON, or the words of whoever refused the call before it."""
    marked = MARKED.fullmatch(text)
    try:
        data = json.loads(marked[1] if marked else text)
    except ValueError:
        kind = "InvalidArguments" if text.startswith("The arguments do not fit") else "Refused"
        return Result({"error": kind, "message": text}, is_error=True)
    return Result(data, is_error="error" in data)


def toml_of(policy: Mapping[str, object]) -> str:
    """The lines of the skill's table that stand for a policy, as `--policy` has it."""
    files = [f"{name} = {json.dumps(policy[name])}" for name in ("writable", "readable") if name in policy]
    bounds = [f"{name} = {value}" for name, value in policy.get("bounds", {}).items()]
    return f"files = {{ {', '.join(files)} }}\nbounds = {{ {', '.join(bounds)} }}\n"


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the base tools are started.

    Attributes:
        start: From a workspace, a state directory, environment variables and a policy to tools.
        shared: Whether tests without variables and policies of their own have one workspace and one run, emptied
            between them, because a start takes seconds.
        left_out: Tests that are not run on it, and why.
        marks: What pytest has to know of it.
    """

    start: Callable[[Path, Path, Mapping[str, str], Mapping[str, object]], Tools]
    shared: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[pytest.MarkDecorator, ...] = ()


def process(workspace, state, env, policy, *, command=None):
    words = command or COMMAND
    return Server(
        workspace, env={**os.environ, **env}, command=[*words, "--policy", json.dumps(policy)] if policy else words
    )


def run_on(runtime, tools=RunTools):
    """A whole run on a runtime, by its name."""
    return lambda workspace, state, env, policy: tools(workspace, state, runtime=runtime, env=env, policy=policy)


def in_containers(runtime):
    """The base tools in a container of an engine."""
    return Way(
        start=run_on(runtime, ContainedTools),
        shared=True,
        left_out=NOT_IN_CONTAINERS,
        marks=(pytest.mark.engine, pytest.mark.xdist_group(runtime)),
    )


NOT_IN_CONTAINERS = {
    "test_X4_AX4_the_default_is_60_seconds_and_a_longer_timeout_holds": "75 s that the base skill counts by itself",
    **dict.fromkeys(
        (
            "test_AF9_control_files_that_the_configuration_opens_are_written",
            "test_AF10_secret_files_that_the_configuration_opens_are_read",
        ),
        "the sandbox masks such files for every process in it, whatever its tools may do",
    ),
}

#: Every way on which the rows of the base tools are tested.
RUNTIMES: dict[str, Way] = {
    "process": Way(start=process),
    "local": Way(start=run_on("local")),
    "docker": in_containers("docker"),
    "podman": in_containers("podman"),
}
