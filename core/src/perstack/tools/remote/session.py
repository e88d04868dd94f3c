"""A session with a remote server, over the mcp SDK's client: made again when it was lost, and never trusted.

A call whose connection broke is not repeated, because it may have taken effect; the next call connects anew. The one
exception is a session that the server has forgotten: it says so without having looked at the call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import anyio
import mcp_types as types
from anyio.abc import TaskGroup, TaskStatus
from mcp import Client, MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from perstack_proxy.sanitise import sanitise_line
from pydantic import BaseModel, ValidationError

from perstack import __version__
from perstack.errors import PerstackError, ToolError
from perstack.tools.listing import ListingError, list_tools
from perstack.tools.questions import Answers
from perstack.tools.remote.answers import elicitation, sampling
from perstack.tools.results import to_outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mcp.client.session import IncomingMessage

    from perstack.messages import JsonObject
    from perstack.protocols import CallOutcome, ConnectRequest, SkillTool

IDENTITY_CHARACTERS = 128
RELIST_SECONDS = 30.0
MAX_RELISTINGS = 100
MAX_CONNECTIONS = 20
"""Times that one session is made in one run."""
FORGOTTEN = "Session terminated"
"""How the SDK says that the server answered 404 to a session's id."""
CLOSED = "Connection closed"
"""How the SDK fails the calls of a connection that it gives up."""
CLOSING_SECONDS = 1.0

Streams: TypeAlias = AbstractAsyncContextManager[object]
Value = TypeVar("Value")


class _Link:
    """One connection of the SDK's client."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.lost = anyio.Event()
        self.calls: set[anyio.CancelScope] = set()
        self.reason = ""

    def lose(self) -> None:
        """Nobody waits for an answer over this connection any more."""
        self.lost.set()
        for call in self.calls:
            call.cancel()


class RemoteSession:
    """A remote server that was reached."""

    def __init__(self, request: ConnectRequest, streams: Callable[[], Streams], tasks: TaskGroup) -> None:
        self._request = request
        self._skill = request.policy.skill
        self._streams = streams
        self._tasks = tasks
        self._link: _Link | None = None
        self._connecting = anyio.Lock()
        self._connections = 0
        self._answers = Answers(request)
        self._relistings = 0
        self.server_name = ""
        self.server_version = ""
        self.tools: Sequence[SkillTool] = ()

    async def open(self) -> None:
        """Connect and list the tools."""
        await self._connected()

    async def call(self, name: str, args: JsonObject, *, timeout: float) -> CallOutcome:
        """Call a tool by the server's own name for it."""
        try:
            with anyio.fail_after(timeout):
                try:
                    return await self._call(name, args)
                except MCPError as error:
                    if error.message != FORGOTTEN:
                        raise
                    self._lose()
                    return await self._call(name, args)
        except TimeoutError:
            raise ToolError(
                f"Skill {self._skill!r} did not answer within {timeout:g} s; the call was cancelled."
            ) from None
        except MCPError as error:
            if error.code == types.CONNECTION_CLOSED:
                reason = await self._reason(error)
                self._lose()
                raise ToolError(f"The connection to skill {self._skill!r} was lost: {reason}.") from None
            raise ToolError(f"Skill {self._skill!r} refused the call: {told(error)} (code {error.code}).") from None
        except ValidationError as error:
            self._request.violation(f"a broken answer was dropped: {told(error)}")
            raise ToolError(f"The skill's answer could not be read: {told(error)}") from None
        except PerstackError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the SDK raises is this call's failure, and no other's
            self._lose()
            raise ToolError(f"The connection to skill {self._skill!r} was lost: {told(error)}") from None

    async def _call(self, name: str, args: JsonObject) -> CallOutcome:
        link = await self._connected()
        if not any(tool.name == name for tool in self.tools):
            raise ToolError(f"Skill {self._skill!r} has no tool {name!r} any more.")
        result = await self._waiting(link, link.client.call_tool(name, args, progress_callback=self._progress))
        return to_outcome(_json(result))

    async def _waiting(self, link: _Link, answer: Awaitable[Value]) -> Value:
        """The answer, unless the connection is lost first."""
        with anyio.CancelScope() as scope:
            link.calls.add(scope)
            try:
                return await answer
            finally:
                link.calls.discard(scope)
        raise ToolError(f"The connection to skill {self._skill!r} was lost: {link.reason or 'it was closed'}.")

    # --- connecting ---------------------------------------------------------------------------------------------------

    async def _connected(self) -> _Link:
        async with self._connecting:
            if self._link is not None and not self._link.lost.is_set():
                return self._link
            if self._connections == MAX_CONNECTIONS:
                raise ToolError(f"Skill {self._skill!r} was lost {MAX_CONNECTIONS} times and is given up.")
            self._connections += 1
            link = await self._linked()
            try:
                await self._meet(link)
            except BaseException:
                link.lose()
                raise
            self._link = link
            return link

    async def _linked(self) -> _Link:
        """A connection. Servers of both protocols ask back in the older one only, so it comes first where they may."""
        if self._answers.offered:
            try:
                return await self._linked_by("legacy")
            except Exception as error:
                if not isinstance(_first(error), MCPError):
                    raise
        return await self._linked_by("auto")

    async def _linked_by(self, mode: str) -> _Link:
        link: _Link = await self._tasks.start(self._hold, mode)
        return link

    async def _hold(self, mode: str, *, task_status: TaskStatus[_Link]) -> None:
        """One connection, until it is lost. Until it stands, errors go to whoever wants it; later, to its calls."""
        link: _Link | None = None
        try:
            async with self._client(mode) as client:
                # The SDK would run a server's patterns as regular expressions; `perstack.tools.arguments` does not.
                client.session.validate_tool_result = _not_validated  # type: ignore[method-assign]
                link = _Link(client)
                task_status.started(link)
                await link.lost.wait()
        except Exception as error:
            if link is None:
                raise
            link.reason = told(error)
        finally:
            if link is not None:
                link.lose()

    def _client(self, mode: str) -> Client:
        answers = self._answers
        return Client(
            self._streams(),  # type: ignore[arg-type]  # the SDK names its streams' types in a private module
            mode=mode,
            client_info=types.Implementation(name="perstack", version=__version__),
            elicitation_callback=elicitation(answers),
            sampling_callback=sampling(answers),
            logging_callback=self._log,
            message_handler=self._hear,
            cache=None,
        )

    async def _meet(self, link: _Link) -> None:
        client = link.client
        info = client.server_info
        self.server_name = sanitise_line(info.name, limit=IDENTITY_CHARACTERS) if info else ""
        self.server_version = sanitise_line(info.version or "", limit=IDENTITY_CHARACTERS) if info else ""
        offered = client.server_capabilities.tools
        if offered is None:
            self.tools = ()
            return
        self.tools = await self._listed(link)
        if offered.list_changed and client.protocol_version in MODERN_PROTOCOL_VERSIONS:
            self._tasks.start_soon(self._listen, link)

    async def _listed(self, link: _Link) -> tuple[SkillTool, ...]:
        async def page_at(cursor: str | None) -> Mapping[str, object]:
            return _json(await self._waiting(link, link.client.list_tools(cursor=cursor)))

        return await list_tools(page_at, violation=self._request.violation)

    async def _reason(self, error: MCPError) -> str:
        """Why the connection ended: the SDK tells its calls before it fails with the reason."""
        link = self._link
        if link is not None and error.message == CLOSED:
            with anyio.move_on_after(CLOSING_SECONDS):
                await link.lost.wait()
        return link.reason if link is not None and link.reason else told(error)

    def _lose(self) -> None:
        if self._link is not None:
            self._link.lose()

    # --- what the server says -----------------------------------------------------------------------------------------

    async def _listen(self, link: _Link) -> None:
        """Hear of changed tools where the protocol has no notifications of its own."""
        with suppress(Exception):  # a server without it is a server whose tools are those of the start
            async with link.client.listen(tools_list_changed=True) as subscription:
                async for _ in subscription:
                    await self._relist(link)

    async def _hear(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification) and self._link is not None:
            self._tasks.start_soon(self._relist, self._link)
        elif isinstance(message, Exception):
            self._request.violation(f"a broken message was dropped: {told(message)}")

    async def _relist(self, link: _Link) -> None:
        self._relistings += 1
        if self._relistings > MAX_RELISTINGS:
            return
        try:
            with anyio.fail_after(RELIST_SECONDS):
                self.tools = await self._listed(link)
        except Exception as error:  # noqa: BLE001 - as of a call
            self._request.violation(f"its changed tool list could not be read: {told(error)}")
        else:
            self._request.notice("the server changed its list of tools")

    async def _log(self, params: types.LoggingMessageNotificationParams) -> None:
        text = params.data if isinstance(params.data, str) else repr(params.data)
        self._request.notice(sanitise_line(f"{params.level}: {text}"))

    async def _progress(self, progress: float, total: float | None, message: str | None) -> None:
        words = f": {message}" if message else ""
        whole = f" of {total:g}" if total is not None else ""
        self._request.notice(sanitise_line(f"progress {progress:g}{whole}{words}"))


def told(error: BaseException) -> str:
    """An error of the SDK in one safe line; of a group, the first one."""
    error = _first(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        return sanitise_line(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", limit=300)
    if isinstance(error, PerstackError | ListingError | MCPError) or str(error):
        return sanitise_line(str(error), limit=1000)
    return type(error).__name__


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _json(result: BaseModel) -> Mapping[str, object]:
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def _not_validated(name: str, result: types.CallToolResult) -> None:
    """What a tool returns is compared with its schema where all results are."""
