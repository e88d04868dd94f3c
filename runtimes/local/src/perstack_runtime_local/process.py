"""A skill's process as perstack sees it: three streams, and a guardian at the other end of a socket."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import perstack_proxy
from anyio import to_thread
from anyio.abc import SocketStream
from perstack.errors import SandboxUnavailable
from perstack_proxy.limits import KILL_SETTLE_SECONDS
from perstack_proxy.processes import end_tree

from perstack_runtime_local import guardian

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import ByteReceiveStream, Process

START_SECONDS = 30.0
"""For a guardian to report. It needs 30 ms; a loaded machine needs more."""
LEAF = str(Path(perstack_proxy.__file__).resolve().parent.parent)

_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What a guardian starts. `path` is absolute; `env` is everything that the skill sees."""

    path: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(repr=False)

    def packed(self) -> bytes:
        """The command as the guardian reads it.

        Raises:
            ValueError: A string holds a NUL, which no program can be given.
        """
        return guardian.pack(self.path, self.argv, dict(self.env), str(self.cwd))


class LocalProcess:
    """A started skill. Its tree ends with `terminate`, with its guardian's socket, and so with perstack itself."""

    def __init__(self, guard: Process, control: SocketStream) -> None:
        self._guard = guard
        self._control = control
        self._buffer = b""
        self._reading = anyio.Lock()
        self._code: int | None = None
        self._ended = False
        self.pid = 0

    @classmethod
    async def start(cls, command: Command, *, skill: str) -> LocalProcess:
        """A running `command` under a guardian of its own.

        Raises:
            SandboxUnavailable: The operating system refused, with its reason.
        """
        try:
            packed = command.packed()
        except ValueError as error:
            raise SandboxUnavailable(f"Skill {skill!r} could not be started: {error}.") from None
        ours, theirs = socket.socketpair()
        try:
            guard = await anyio.open_process(
                [sys.executable, "-I", "-S", guardian.__file__, str(theirs.fileno()), LEAF],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={},
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        process = cls(guard, await SocketStream.from_socket(ours))
        try:
            with anyio.fail_after(START_SECONDS):
                await process._control.send(packed)
                report = await process._next_report()
        except BaseException as error:
            await process.terminate(grace=0)
            if isinstance(error, (TimeoutError, *_GONE)):
                raise SandboxUnavailable(f"The guardian of skill {skill!r} did not start.") from error
            raise
        word, value = report or ("failed", "its guardian ended at once")
        if word != "started":
            await process.terminate(grace=0)
            raise SandboxUnavailable(f"Skill {skill!r} could not be started: {value}.")
        process.pid = int(value)
        return process

    async def send(self, data: bytes) -> None:
        """Write all of `data` to standard input."""
        try:
            if self._guard.stdin is not None:
                await self._guard.stdin.send(data)
        except _GONE as error:
            raise SandboxUnavailable("The skill's process is gone.") from error

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes of standard output; empty at its end."""
        return await _read(self._guard.stdout, max_bytes)

    async def receive_stderr(self, max_bytes: int = 65536) -> bytes:
        """The next bytes of standard error; empty at its end."""
        return await _read(self._guard.stderr, max_bytes)

    async def wait(self) -> int:
        """The exit code, or minus the signal's number.

        Raises:
            SandboxUnavailable: The guardian was killed, so nobody knows; the skill has been killed too.
        """
        async with self._reading:
            while self._code is None:
                report = await self._next_report()
                if report is None:
                    await self._kill_orphans()
                    raise SandboxUnavailable("The skill's guardian ended without a report.")
                word, value = report
                self._code = int(value) if word == "exited" else None
            return self._code

    async def terminate(self, *, grace: float) -> None:
        """End the whole tree: end of input, SIGTERM, and SIGKILL after `grace` seconds. Again is harmless."""
        if self._ended:
            return
        self._ended = True
        with anyio.CancelScope(shield=True):
            if self._guard.stdin is not None:
                await self._guard.stdin.aclose()
            with suppress(*_GONE):
                await self._control.send(b"end %f\n" % grace)
            patience = guardian.LINGER_SECONDS + grace + 2 * KILL_SETTLE_SECONDS
            with anyio.move_on_after(patience):
                await self._guard.wait()
            if self._guard.returncode != 0:
                await self._kill_orphans()
            with suppress(SandboxUnavailable):
                await self.wait()  # the report may not have been read yet
            await self._control.aclose()
            await self._guard.aclose()

    async def _kill_orphans(self) -> None:
        """The guardian failed at its duty, or was killed: its duty falls to perstack."""
        with suppress(ProcessLookupError):
            self._guard.kill()
        if self.pid > 1 and self._code is None:
            await to_thread.run_sync(lambda: end_tree(self.pid, grace=0))

    async def _next_report(self) -> tuple[str, str] | None:
        while b"\n" not in self._buffer:
            try:
                self._buffer += await self._control.receive()
            except _GONE:
                return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        word, _, value = line.decode("utf-8", "replace").partition(" ")
        return word, value


async def _read(stream: ByteReceiveStream | None, max_bytes: int) -> bytes:
    try:
        return b"" if stream is None else await stream.receive(max_bytes)
    except _GONE:
        return b""
