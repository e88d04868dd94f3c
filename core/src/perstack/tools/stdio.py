"""MCP over the standard streams of a sandboxed process, by a small strict client of our own.

The mcp SDK takes longer to import than a whole run, and an untrusted server needs the bounds anyway.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from perstack_proxy.limits import TERM_GRACE_SECONDS
from perstack_proxy.sanitise import sanitise_line

from perstack import __version__
from perstack.background import background
from perstack.errors import SkillError, ToolError
from perstack.tools.connection import Connection, Params, Refused, UnknownMethod
from perstack.tools.listing import ListingError, list_tools
from perstack.tools.questions import Answers
from perstack.tools.results import to_outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from perstack.messages import JsonObject
    from perstack.protocols import CallOutcome, ConnectRequest, SandboxProcess, SkillTool

PROTOCOL_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""What is offered (the first) and what is accepted. They differ in nothing that this client uses over stdio."""
HANDSHAKE_SECONDS = 120.0
"""For a server to start and list its tools. Its command may first have to fetch a package."""
IDENTITY_CHARACTERS = 128
MAX_RELISTINGS = 100
"""Times that a server's changed tool list is read again in one run."""


class StdioTransport:
    """Connects to servers over stdio. Each session has its own connection; the transport holds nothing."""

    def __init__(self, *, handshake_seconds: float = HANDSHAKE_SECONDS) -> None:
        self._handshake_seconds = handshake_seconds

    @asynccontextmanager
    async def connect(self, request: ConnectRequest) -> AsyncIterator[StdioSession]:
        """A session after handshake and tool listing."""
        skill = request.policy.skill
        if request.process is None:
            raise SkillError(f"Skill {skill!r} has no process to talk to.")
        session = StdioSession(request, request.process)
        async with background() as tasks:
            tasks.start_soon(_converse, session.connection, request.process)
            try:
                with anyio.fail_after(self._handshake_seconds):
                    await session.open(self._handshake_seconds)
            except TimeoutError:
                raise SkillError(
                    f"Skill {skill!r} did not answer within {self._handshake_seconds:g} s.",
                    hint="Run its command by hand to see what it waits for.",
                ) from None
            except (ToolError, Refused, ListingError) as error:
                raise SkillError(f"Skill {skill!r} did not connect: {error}") from error
            tasks.start_soon(session.relist)
            yield session


class StdioSession:
    """A connected server."""

    def __init__(self, request: ConnectRequest, process: SandboxProcess) -> None:
        self._skill = request.policy.skill
        self._workspace = request.workspace
        self._notice: Callable[[str], None] = request.notice
        self._changed = anyio.Event()
        self._outdated = False
        self._relisted = anyio.Event()
        self._calls = 0
        self._answers = Answers(request)
        self.connection = Connection(
            process,
            violation=request.violation,
            on_request=self._serve,
            on_notification=self._hear,
        )
        self.server_name = ""
        self.server_version = ""
        self.tools: Sequence[SkillTool] = ()

    async def open(self, timeout: float) -> None:
        """Shake hands and list the tools, each answer within `timeout` seconds."""
        hello = await self.connection.request(
            "initialize",
            {
                "protocolVersion": PROTOCOL_VERSIONS[0],
                "capabilities": {"roots": {}, **{method.partition("/")[0]: {} for method in self._answers.offered}},
                "clientInfo": {"name": "perstack", "version": __version__},
            },
            timeout=timeout,
        )
        version = hello.get("protocolVersion")
        if version not in PROTOCOL_VERSIONS:
            shown = sanitise_line(repr(version), limit=IDENTITY_CHARACTERS)
            raise ListingError(f"it speaks version {shown} of the protocol; known are {', '.join(PROTOCOL_VERSIONS)}")
        self.server_name, self.server_version = _identity(hello.get("serverInfo"))
        self.connection.notify("notifications/initialized")
        capabilities = hello.get("capabilities")
        if isinstance(capabilities, dict) and "tools" in capabilities:
            self.tools = await self._listed(timeout)

    async def call(self, name: str, args: JsonObject, *, timeout: float) -> CallOutcome:
        """Call a tool by the server's own name for it."""
        await self._settled(name, timeout)
        self._calls += 1
        params: Params = {"name": name, "arguments": args, "_meta": {"progressToken": self._calls}}
        try:
            result = await self.connection.request("tools/call", params, timeout=timeout)
        except TimeoutError:
            raise ToolError(
                f"Skill {self._skill!r} did not answer within {timeout:g} s; the call was cancelled."
            ) from None
        except Refused as error:
            raise ToolError(f"Skill {self._skill!r} refused the call: {error} (code {error.code}).") from None
        return to_outcome(result)

    async def _settled(self, name: str, timeout: float) -> None:
        """The tool is the one that the caller saw.

        A list that is being read again is awaited, so that a change which the server has announced holds for the very
        next call.

        Raises:
            ToolError: It changed, or the list did not arrive.
        """
        seen = self._named(name)
        with anyio.move_on_after(timeout) as waiting:
            while self._outdated:
                await self._relisted.wait()
        if waiting.cancelled_caught or self._named(name) != seen:
            raise ToolError(f"Skill {self._skill!r} changed or withdrew {name!r} since the run began.")

    def _named(self, name: str) -> SkillTool | None:
        return next((tool for tool in self.tools if tool.name == name), None)

    async def relist(self) -> None:
        """Read the tool list again whenever the server says that it changed."""
        for _ in range(MAX_RELISTINGS):
            await self._changed.wait()
            self._changed = anyio.Event()
            try:
                self.tools = await self._listed(HANDSHAKE_SECONDS)
            except (TimeoutError, ToolError, Refused, ListingError) as error:
                self.tools = ()  # nobody knows what it offers now
                self.connection.violation(f"its changed tool list could not be read: {error}")
            else:
                self._notice("the server changed its list of tools")
            self._outdated = self._changed.is_set()
            self._relisted.set()
            self._relisted = anyio.Event()

    async def _listed(self, timeout: float) -> tuple[SkillTool, ...]:
        async def page_at(cursor: str | None) -> Params:
            return await self.connection.request("tools/list", {"cursor": cursor} if cursor else {}, timeout=timeout)

        return await list_tools(page_at, violation=self.connection.violation)

    def _serve(self, method: str, params: Params) -> Params | Awaitable[Mapping[str, object]]:
        """The answer to a server's request. What its skill's table does not allow was not offered, and is refused."""
        if method == "ping":
            return {}
        if method == "roots/list":
            return {"roots": [{"uri": self._workspace.as_uri(), "name": self._workspace.name}]}
        if method in self._answers.offered:
            return self._answers.answer(method, params)
        raise UnknownMethod(method)

    def _hear(self, method: str, params: Params) -> None:
        if method == "notifications/tools/list_changed":
            self._outdated = True
            self._changed.set()
        elif method == "notifications/message":
            level, data = params.get("level"), params.get("data")
            text = data if isinstance(data, str) else repr(data)
            self._notice(sanitise_line(f"{level}: {text}"))
        elif method == "notifications/progress":
            message, total = params.get("message"), params.get("total")
            of = "" if total is None else f" of {total}"
            words = f": {message}" if isinstance(message, str) else ""
            self._notice(sanitise_line(f"progress {params.get('progress')}{of}{words}"))


async def _converse(connection: Connection, process: SandboxProcess) -> None:
    """A server with which there is no conversation any more has no reason to run."""
    await connection.run()
    await process.terminate(grace=TERM_GRACE_SECONDS)


def _identity(info: object) -> tuple[str, str]:
    name, version = (info.get("name"), info.get("version")) if isinstance(info, dict) else ("", "")
    return tuple(  # type: ignore[return-value]
        sanitise_line(part, limit=IDENTITY_CHARACTERS) if isinstance(part, str) else "" for part in (name, version)
    )
