"""A process that is a function: what perstack sends to it, and what it sends back, for tests of the protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from perstack.errors import SandboxUnavailable
from perstack.protocols import ConnectRequest
from perstack.skill_policy import BUILT_IN, SkillPolicy
from perstack.tools.stdio import StdioSession, StdioTransport

Json = dict[str, object]
Reaction = Callable[[Json], Iterable["Json | bytes"]]

ANY_OBJECT: Json = {"type": "object"}
POLICY = SkillPolicy(expert="tester", skill="fake", kind="mcpStdioSkill", origin=BUILT_IN, argv=("fake",))


def answer(request: Json, result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}


@dataclass
class MemoryServer:
    """Reacts to each message with messages, or bytes as they are. `on` replaces the reaction to one method."""

    on: dict[str, Reaction] = field(default_factory=dict)
    tools: list[Json] = field(default_factory=lambda: [{"name": "tool", "inputSchema": ANY_OBJECT}])
    capabilities: Json = field(default_factory=lambda: {"tools": {}})
    version: str = "2025-11-25"
    received: list[Json] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    reads: bool = True

    def __post_init__(self) -> None:
        self._out, self._stdout = anyio.create_memory_object_stream[bytes](100_000)
        self._pending = memoryview(b"")

    def methods(self) -> list[object]:
        return [message.get("method") for message in self.received]

    def emit(self, *messages: Json | bytes) -> None:
        for message in messages:
            self._out.send_nowait(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")

    def hang_up(self) -> None:
        self._out.close()

    async def send(self, data: bytes) -> None:
        if not self.reads:
            await anyio.sleep_forever()
        for line in data.splitlines():
            message = json.loads(line)
            self.received.append(message)
            reaction = self.on.get(message.get("method"), self._react)
            try:
                self.emit(*reaction(message))
            except anyio.ClosedResourceError:
                raise SandboxUnavailable("gone") from None

    def _react(self, message: Json) -> Iterable[Json | bytes]:
        method = message.get("method")
        if method == "initialize":
            info = {"name": "fake", "version": "1"}
            result = {"protocolVersion": self.version, "capabilities": self.capabilities, "serverInfo": info}
            return [answer(message, result)]
        if method == "tools/list":
            return [answer(message, {"tools": self.tools})]
        if method == "tools/call":
            return [answer(message, {"content": [{"type": "text", "text": json.dumps(message["params"])}]})]
        return []

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._pending:
            try:
                self._pending = memoryview(await self._stdout.receive())
            except anyio.EndOfStream:
                return b""
        chunk, self._pending = self._pending[:max_bytes], self._pending[max_bytes:]
        return bytes(chunk)

    async def receive_stderr(self, max_bytes: int = 65536) -> bytes:
        return b""

    async def wait(self) -> int:
        return await anyio.sleep_forever()

    async def terminate(self, *, grace: float) -> None:
        self.hang_up()

    @asynccontextmanager
    async def connected(self, *, handshake_seconds: float = 5.0) -> AsyncIterator[StdioSession]:
        request = ConnectRequest(
            policy=POLICY,
            process=self,
            workspace=Path("/workspace"),
            violation=self.violations.append,
            notice=self.notices.append,
        )
        try:
            async with StdioTransport(handshake_seconds=handshake_seconds).connect(request) as session:
                yield session
        finally:
            self._out.close()
            self._stdout.close()
