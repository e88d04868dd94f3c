"""A command's kill domain: its supervisor, its streams, its end.

The supervisor (`perstack_skill_base.supervisor`) is a process for each command; what it starts ends with it, and what a
command that killed it leaves behind is ended by `perstack_skill_base.children`.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from perstack_proxy.limits import KIB, KILL_SETTLE_SECONDS

from perstack_skill_base.children import CHILDREN, own_program
from perstack_skill_base.limits import EXEC_GRACE_MS, PROGRESS_BYTES, PROGRESS_SECONDS
from perstack_skill_base.outputs import Spill

_CHUNK = 64 * KIB
_POLL_SECONDS = 0.05


class Capture:
    """A stream's first and last bytes and how many there were; of a long one the beginning is spilled to disk too.

    Args:
        limit: Bytes that are kept in memory.
        spill_limit: Bytes that are kept on disk.
    """

    __slots__ = ("_half", "_head", "_spill_limit", "_tail", "fresh", "spill", "total")

    def __init__(self, limit: int, spill_limit: int) -> None:
        self._half = max(1, limit // 2)
        self._spill_limit = spill_limit
        self._head = bytearray()
        self._tail = bytearray()
        self.fresh = bytearray()
        self.spill: Spill | None = None
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Adds what was read."""
        self.total += len(data)
        self.fresh = (self.fresh + data)[-PROGRESS_BYTES:]
        if self.spill is None and self.truncated and self._spill_limit:
            try:
                self.spill = Spill(self._spill_limit)
                self.spill.feed(bytes(self._head + self._tail))  # nothing was dropped until now
            except OSError:
                self._spill_limit = 0  # the command goes on without
        if self.spill is not None:
            self.spill.feed(data)
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


class Command(NamedTuple):
    """What is to be run, and how.

    Attributes:
        argv: The program and its arguments.
        environment: Exactly the command's environment.
        directory: Handle of its working directory.
        timeout_ms: Time after which it is ended.
        stream_bytes: Bytes of each stream that its result has.
        spill_bytes: Bytes of each stream that are kept beyond.
        cancelled: Ends it when set.
        progress: Told from time to time how many bytes it has printed, and the last of them.
    """

    argv: list[str]
    environment: dict[str, str]
    directory: int
    timeout_ms: int
    stream_bytes: int
    spill_bytes: int
    cancelled: threading.Event
    progress: Callable[[int, str], None] | None = None


def run(command: Command) -> Outcome:
    """Runs a command to its end; when this returns, nothing that it started runs any more."""
    stdout, stderr = (Capture(command.stream_bytes, command.spill_bytes) for _ in range(2))
    status, writer = os.pipe()
    try:
        numbers = map(str, (command.directory, writer, command.timeout_ms, EXEC_GRACE_MS))
        argv = [*own_program("perstack_skill_base.supervisor"), *numbers, *command.argv]
        process = CHILDREN.start(argv, command.environment, (command.directory, writer))
    except BaseException:
        os.close(status)
        raise
    finally:
        os.close(writer)
    try:
        line = _follow(command, process, status, (stdout, stderr))
    finally:
        os.close(status)
        _close(process)
        CHILDREN.ended(process.pid)
    words = line.split()
    if len(words) != 3:
        return Outcome("lost", 0, 0, stdout, stderr)
    return Outcome(words[0].decode("ascii"), int(words[1]), int(words[2]), stdout, stderr)


def _follow(
    command: Command, process: subprocess.Popen[bytes], status: int, captures: tuple[Capture, Capture]
) -> bytes:
    """The status line, once both streams were read. It ends with the status, whoever still holds the streams open."""
    assert process.stdin is not None  # noqa: S101 - all three were asked for as pipes
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    line = b""
    teller = _Teller(command.progress, captures)
    # Beyond the supervisor's own deadline: it hangs, and is killed by the caller.
    deadline = time.monotonic() + (command.timeout_ms + 2 * EXEC_GRACE_MS) / 1000 + 2 * KILL_SETTLE_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(status, selectors.EVENT_READ)
        for stream, capture in zip((process.stdout, process.stderr), captures, strict=True):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, capture)
        while time.monotonic() < deadline and not _stopped(process.pid):
            if command.cancelled.is_set() and not process.stdin.closed:
                process.stdin.close()
            for key, _ in selector.select(_POLL_SECONDS):
                data = os.read(key.fd, _CHUNK)
                if key.data is not None:
                    key.data.feed(data)
                elif data:
                    line += data
                else:
                    _drain(process.stdout.fileno(), captures[0])
                    _drain(process.stderr.fileno(), captures[1])
                    return line
                if not data:
                    selector.unregister(key.fileobj)
            teller.tell()
    return line


def _stopped(pid: int) -> bool:
    """Whether a command has stopped its supervisor, which then neither ends it nor answers."""
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # it has ended, and is not stopped
        return False


class _Teller:
    """Tells the client what a command prints, whole lines where there are any, and seldom enough to be read."""

    def __init__(self, progress: Callable[[int, str], None] | None, captures: tuple[Capture, Capture]) -> None:
        self._progress = progress
        self._captures = captures
        self._last = time.monotonic()

    def tell(self) -> None:
        """To be called often."""
        if self._progress is None or time.monotonic() - self._last < PROGRESS_SECONDS:
            return
        pieces = [_take_lines(capture.fresh) for capture in self._captures]
        if any(pieces):
            self._last = time.monotonic()
            text = b"".join(pieces).decode("utf-8", "replace")
            self._progress(sum(capture.total for capture in self._captures), text)


def _take_lines(fresh: bytearray) -> bytes:
    """Takes the whole lines away, or all of a line that is too long to wait for its end."""
    end = len(fresh) if len(fresh) >= PROGRESS_BYTES else fresh.rfind(b"\n") + 1
    taken = bytes(fresh[:end])
    del fresh[:end]
    return taken


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
