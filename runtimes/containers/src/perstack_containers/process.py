"""The skill inside a container, as perstack sees it: the container's streams, and the container's end."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import anyio
from perstack.errors import SandboxUnavailable

from perstack_containers.http import EngineFailure
from perstack_containers.streams import GONE, Streams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from perstack.messages import JsonObject

START_SECONDS = 60.0
"""For the container's first process to report. It needs 50 ms; a loaded machine needs more."""
LINE_BYTES = 1024 * 1024
SIGNALLED = 128


class ContainerProcess:
    """A `SandboxProcess` whose end is the end of its container.

    Args:
        streams: The attached container's.
        wait: Asks the engine for the exit code of the container, which has ended.
        remove: Removes the container, with force.
    """

    def __init__(
        self, streams: Streams, *, wait: Callable[[], Awaitable[int]], remove: Callable[[], Awaitable[None]]
    ) -> None:
        self._streams = streams
        self._wait = wait
        self._remove = remove
        self._code: int | None = None
        self._asking = anyio.Lock()
        self._ended = False
        self.receive_stderr = streams.stderr.get
        self.receive = streams.stdout.get

    async def line(self) -> JsonObject:
        """The next line that the container's first process writes for perstack.

        Raises:
            SandboxUnavailable: It ended, or was too slow; carries what it said on standard error.
        """
        data = bytearray()
        try:
            with anyio.fail_after(START_SECONDS):
                while not data.endswith(b"\n"):
                    # One byte at a time: what follows the line is the skill's.
                    byte = await self._streams.stdout.get(1)
                    if not byte or len(data) > LINE_BYTES:
                        words = (await self._streams.stderr.get(4096)).decode("utf-8", "replace").strip()
                        raise SandboxUnavailable(f"The container ended before its skill: {words or 'without a word'}.")
                    data += byte
        except TimeoutError:
            raise SandboxUnavailable(f"The container did not report within {START_SECONDS:g} s.") from None
        try:
            line: object = json.loads(data)
        except ValueError:
            line = None
        if not isinstance(line, dict):
            raise SandboxUnavailable("The container's first process is not perstack's own.")
        return line

    async def order(self, order: JsonObject) -> None:
        """Tell the first process what to start. The values go over the connection and nowhere else."""
        data = json.dumps(order).encode()
        await self.send(b"%08x%b" % (len(data), data))

    async def send(self, data: bytes) -> None:
        """Write all of `data` to standard input."""
        if self._streams.ended.is_set():
            raise SandboxUnavailable("The skill's container has ended.")
        try:
            await self._streams.send(data)
        except GONE as error:
            raise SandboxUnavailable("The skill's container is gone.") from error

    async def wait(self) -> int:
        """The exit code, or minus the signal's number."""
        await self._streams.ended.wait()
        async with self._asking:
            if self._code is None:
                try:
                    code = await self._wait()
                except EngineFailure:
                    code = SIGNALLED + signal.SIGKILL  # it was removed
                self._code = -(code - SIGNALLED) if code - SIGNALLED in signal.valid_signals() else code
        return self._code

    async def terminate(self, *, grace: float) -> None:
        """End everything in the container: end of input, and by force after `grace` seconds. Again is harmless."""
        if self._ended:
            return
        self._ended = True
        with anyio.CancelScope(shield=True):
            await self._streams.close_input()
            with anyio.move_on_after(grace):
                await self._streams.ended.wait()
                await self.wait()
            try:
                await self._remove()
            finally:
                await self._streams.close()
