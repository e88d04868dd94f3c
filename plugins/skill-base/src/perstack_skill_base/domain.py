"""A command's kill domain: its supervisor, its streams, its end.

The supervisor (`perstack_skill_base.supervisor`) is a process for each command. Should a command kill its own
supervisor, the tree falls to this process, which is a subreaper too: any child of it that is no supervisor is then
such a leftover, and is ended.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import perstack_proxy
from perstack_proxy.limits import KIB, KILL_SETTLE_SECONDS
from perstack_proxy.processes import become_subreaper, end_tree, process_table, set_not_dumpable

import perstack_skill_base
from perstack_skill_base.limits import EXEC_GRACE_MS, EXEC_STREAM_BYTES

_START = "import sys; sys.path += sys.argv.pop(1).split('\\n'); from perstack_skill_base.supervisor import main; main()"
_CHUNK = 64 * KIB
_POLL_SECONDS = 0.05


class Capture:
    """A stream's first and last bytes and how many there were; the middle of a long one is dropped."""

    __slots__ = ("_half", "_head", "_tail", "total")

    def __init__(self, limit: int = EXEC_STREAM_BYTES) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Adds what was read."""
        self.total += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    @property
    def truncated(self) -> bool:
        """Whether the middle was dropped."""
        return self.total > 2 * self._half

    def text(self) -> str:
        """The stream as text, with a marker that says how much was dropped."""
        if not self.truncated:
            return (self._head + self._tail).decode("utf-8", "replace")
        head, tail = (part.decode("utf-8", "replace") for part in (self._head, self._tail[-self._half :]))
        return f"{head}\n… [{self.total - 2 * self._half} bytes left out] …\n{tail}"


class Outcome(NamedTuple):
    """How a command ended.

    Attributes:
        cause: `exited`, `timeout`, `cancelled`, `failed` (it did not start), or `lost` (its supervisor was killed).
        code: Exit code, negative signal number, or the error number if it did not start.
        survivors: Processes that could not be ended, normally 0.
        stdout: What it printed.
        stderr: What it printed as errors.
    """

    cause: str
    code: int
    survivors: int
    stdout: Capture
    stderr: Capture


class _Supervisors:
    """The supervisors that run, so that every other child is known to be a leftover."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._prepared = False

    def start(self, argv: list[str], environment: dict[str, str], handles: tuple[int, int]) -> subprocess.Popen[bytes]:
        with self._lock:
            if not self._prepared:
                self._prepared = True
                become_subreaper()
                set_not_dumpable()  # a command runs as the same user and could read this process's variables
            process = subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=handles,
                start_new_session=True,
            )
            self._running.add(process.pid)
            return process

    def ended(self, pid: int) -> None:
        """Forgets a supervisor and ends whatever has fallen to this process."""
        with self._lock:
            self._running.discard(pid)
            own = os.getpid()
            for row in process_table():
                if row.parent == own and row.pid not in self._running:
                    end_tree(row.pid, grace=0)
                    _collect(row.pid)


_SUPERVISORS = _Supervisors()


def run(
    argv: list[str], environment: dict[str, str], directory: int, timeout_ms: int, cancelled: threading.Event
) -> Outcome:
    """Runs a command to its end; when this returns, nothing that it started runs any more.

    Args:
        argv: The program and its arguments.
        environment: Exactly the command's environment.
        directory: Handle of its working directory.
        timeout_ms: Time after which it is ended.
        cancelled: Ends it when set.
    """
    status, writer = os.pipe()
    try:
        paths = "\n".join({os.path.dirname(package.__path__[0]) for package in (perstack_proxy, perstack_skill_base)})
        numbers = map(str, (directory, writer, timeout_ms, EXEC_GRACE_MS))
        own = [sys.executable, "-I", "-S", "-c", _START, paths, *numbers]
        process = _SUPERVISORS.start([*own, *argv], environment, (directory, writer))
    except BaseException:
        os.close(status)
        raise
    finally:
        os.close(writer)
    try:
        line, stdout, stderr = _follow(process, status, timeout_ms, cancelled)
    finally:
        os.close(status)
        _close(process)
        _SUPERVISORS.ended(process.pid)
    words = line.split()
    if len(words) != 3:
        return Outcome("lost", 0, 0, stdout, stderr)
    return Outcome(words[0].decode("ascii"), int(words[1]), int(words[2]), stdout, stderr)


def _follow(
    process: subprocess.Popen[bytes], status: int, timeout_ms: int, cancelled: threading.Event
) -> tuple[bytes, Capture, Capture]:
    """The status line and both streams. It ends with the status, whoever still holds the streams open."""
    assert process.stdin is not None  # noqa: S101 - all three were asked for as pipes
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    stdout, stderr = Capture(), Capture()
    line = b""
    # Beyond the supervisor's own deadline: it was stopped or hangs, and is killed by the caller.
    deadline = time.monotonic() + (timeout_ms + 2 * EXEC_GRACE_MS) / 1000 + 2 * KILL_SETTLE_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(status, selectors.EVENT_READ)
        for stream, capture in ((process.stdout, stdout), (process.stderr, stderr)):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, capture)
        while time.monotonic() < deadline:
            if cancelled.is_set() and not process.stdin.closed:
                process.stdin.close()
            for key, _ in selector.select(_POLL_SECONDS):
                data = os.read(key.fd, _CHUNK)
                if key.data is not None:
                    key.data.feed(data)
                elif data:
                    line += data
                else:
                    _drain(process.stdout.fileno(), stdout)
                    _drain(process.stderr.fileno(), stderr)
                    return line, stdout, stderr
                if not data:
                    selector.unregister(key.fileobj)
    return line, stdout, stderr


def _drain(descriptor: int, capture: Capture) -> None:
    """What is in the pipe now; its writers are gone, or are not waited for."""
    for _ in range(2 * 1024 * KIB // _CHUNK):  # a pipe holds 1 MiB at most
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            return
        capture.feed(data)


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    try:
        process.wait(_POLL_SECONDS * 20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _collect(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
