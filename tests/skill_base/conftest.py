"""A small synchronous MCP client and the real server process, one per test."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from perstack_proxy import jsonrpc
from perstack_proxy.jsonrpc import Notification, Request, Response

DEADLINE_SECONDS = 20.0
COMMAND = [sys.executable, "-I", "-m", "perstack_skill_base"]


class Result:
    """A tool's result: its members, whether it is an error, and the other content."""

    def __init__(self, wire):
        self.wire = wire
        self.data = wire["structuredContent"]
        self.is_error = wire.get("isError", False)
        self.parts = wire["content"][1:]

    def __getitem__(self, name):
        return self.data[name]

    def __repr__(self):
        return f"Result({self.data!r}, is_error={self.is_error})"


class Server:
    """The server as a process, and a client of it that never waits without end."""

    def __init__(self, cwd, *, env=None, command=COMMAND):
        self.process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.pid = self.process.pid
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
        return Result(response.result)

    def call(self, tool, /, **arguments):
        return self.finish(self.begin(tool, **arguments))

    def ok(self, tool, /, **arguments):
        result = self.call(tool, **arguments)
        assert not result.is_error, result
        return result

    def refused(self, tool, /, **arguments):
        """The kind and the text of the error that the tool answered with."""
        result = self.call(tool, **arguments)
        assert result.is_error, result
        return result["error"], result["message"]

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


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path):
    """A directory beside the workspace, with a canary that no tool may read, change or remove."""
    return Outside(tmp_path / "outside")


class Outside:
    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.canary = f"canary-{uuid.uuid4()}"
        self.file = path / "secret.txt"
        self.file.write_text(self.canary)
        self._before = self._snapshot()

    def _snapshot(self):
        return sorted((str(entry), entry.lstat().st_mtime_ns, entry.lstat().st_size) for entry in self.path.rglob("*"))

    def untouched(self):
        return self._snapshot() == self._before and self.file.read_text() == self.canary


@pytest.fixture
def launch():
    """Starts servers that are ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(cwd, **options):
            server = Server(cwd, **options)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def server(launch, workspace):
    return launch(workspace)


@pytest.fixture
def canary():
    return f"canary-{uuid.uuid4()}"


def _processes_with(word):
    """The processes whose command line contains a word, zombies left out."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if word.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
    return found


@pytest.fixture
def processes_with():
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("looks for processes in /proc")
    return _processes_with


@pytest.fixture
def eventually():
    """Waits until a condition holds, at most `seconds`."""

    def wait(condition, seconds=DEADLINE_SECONDS):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.01)
        raise AssertionError(f"did not hold within {seconds} s")

    return wait
