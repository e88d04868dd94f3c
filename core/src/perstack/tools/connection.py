"""One JSON-RPC conversation with an untrusted server: requests out, answers matched by id, everything bounded.

What the server sends is never trusted to be an answer to anything: only a response whose id is that of a request in
flight is taken, once. The rest is dropped and reported, and a server that goes on like that is ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias, Union

import anyio
from anyio.lowlevel import checkpoint
from perstack_proxy.jsonrpc import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    ErrorObject,
    LineSplitter,
    LineTooLongError,
    Message,
    MessageError,
    Notification,
    Request,
    RequestId,
    Response,
    decode,
    encode,
)
from perstack_proxy.limits import CLIENT_LIMITS, MessageLimits
from perstack_proxy.sanitise import sanitise_line

from perstack.errors import SandboxUnavailable, ToolError

if TYPE_CHECKING:
    from perstack.protocols import SandboxProcess

MAX_PENDING = 4096
"""Requests in flight at once; far more than a model asks for in one step."""
MAX_VIOLATIONS = 1000
"""Breaches of the protocol after which a server is ended. A chatty one writes a few stray lines at its start."""
MAX_QUEUED = 8192
"""Messages that wait to be written; reached only when the server does not read."""
EXCERPT_CHARACTERS = 200

Params: TypeAlias = dict[str, object]
RequestHandler: TypeAlias = Callable[[str, Params], Union[Params, "Awaitable[Mapping[str, object]]"]]
"""The answer to a request of the server, or its promise where somebody has to be asked."""
NotificationHandler: TypeAlias = Callable[[str, Params], None]


class Refused(Exception):
    """The server answered a request with an error.

    Attributes:
        code: The JSON-RPC error code.
    """

    def __init__(self, error: ErrorObject) -> None:
        super().__init__(sanitise_line(error.message))
        self.code = error.code


class UnknownMethod(Exception):
    """A request of the server that is not served here."""


class Unanswerable(Exception):
    """A request of the server that is served here and has no answer; the text says why."""


class _Pending:
    """A request in flight."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.result: Params | None = None
        self.failure: Exception | None = None

    def fail(self, failure: Exception) -> None:
        if not self.done.is_set():
            self.failure = failure
            self.done.set()


class Connection:
    """A conversation over the standard streams of a process.

    `run` reads and writes until the server is gone; requests are made meanwhile, from any task.
    """

    def __init__(
        self,
        process: SandboxProcess,
        *,
        violation: Callable[[str], None],
        on_request: RequestHandler,
        on_notification: NotificationHandler,
        limits: MessageLimits = CLIENT_LIMITS,
    ) -> None:
        self._process = process
        self._report = violation
        self._on_request = on_request
        self._on_notification = on_notification
        self._limits = limits
        self._pending: dict[int, _Pending] = {}
        self._abandoned: set[int] = set()
        self._last_id = 0
        self._violations = 0
        self._outgoing, self._queue = anyio.create_memory_object_stream[bytes](MAX_QUEUED)
        self.closed: str | None = None
        """Why there is no conversation any more; None while there is."""

    async def run(self) -> None:
        """Read and write until the server closes its output, breaks the protocol too often, or this is cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._write_all)
            try:
                await self._read_all()
            finally:
                self._close("the server closed its output")
                self._queue.close()
                tasks.cancel_scope.cancel()

    async def request(self, method: str, params: Params, *, timeout: float) -> Params:
        """The server's result.

        Raises:
            Refused: The server answered with an error.
            TimeoutError: It did not answer in `timeout` seconds; it has been told that nobody waits any more.
            ToolError: The conversation ended first, or the answer could not be read.
        """
        if self.closed is not None:
            raise ToolError(f"The skill is gone: {self.closed}.")
        if len(self._pending) >= MAX_PENDING:
            raise ToolError(f"The skill has {MAX_PENDING} calls in flight already.")
        self._last_id += 1
        ident, pending = self._last_id, _Pending()
        self._pending[ident] = pending
        try:
            with anyio.fail_after(timeout):
                await self._outgoing.send(encode(Request(ident, method, params)))
                await pending.done.wait()
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise ToolError(f"The skill is gone: {self.closed}.") from None
        except BaseException as error:
            self._abandon(ident, "timed out" if isinstance(error, TimeoutError) else "cancelled")
            raise
        finally:
            self._pending.pop(ident, None)
        if pending.failure is not None:
            raise pending.failure
        return pending.result or {}

    def notify(self, method: str, params: Params | None = None) -> None:
        """Tell the server something; dropped when the server has stopped reading."""
        self._post(Notification(method, params or {}))

    def violation(self, what: str) -> None:
        """Report a breach of the protocol, and end the conversation after too many."""
        self._violations += 1
        if self._violations <= MAX_VIOLATIONS:
            self._report(what)
        if self._violations == MAX_VIOLATIONS:
            self._close(f"it broke the protocol {MAX_VIOLATIONS} times")

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read_all(self) -> None:
        lines = LineSplitter(self._limits.line_bytes)
        while self.closed is None:
            chunk = await self._process.receive()
            if not chunk:
                if lines.unfinished:
                    self.violation("its output ended in the middle of a message")
                return
            lines.feed(chunk)
            while self._take_line(lines):
                pass
            await checkpoint()  # a server that never stops writing must not keep the others from running

    def _take_line(self, lines: LineSplitter) -> bool:
        if self.closed is not None:
            return False
        try:
            line = lines.next_line()
        except LineTooLongError as error:
            self._unreadable(f"a message was dropped: {error}")
            return True
        if line is None:
            return False
        try:
            message = decode(line, limits=self._limits, surrogates=False)
        except MessageError as error:
            self._malformed(line, error)
        else:
            self._take(message)
        return True

    def _malformed(self, line: bytes, error: MessageError) -> None:
        excerpt = sanitise_line(line[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace"), limit=EXCERPT_CHARACTERS)
        if isinstance(error.id, int) and error.id in self._pending:
            self.violation(f"a broken answer was dropped: {error}: {excerpt}")
            self._pending[error.id].fail(ToolError(f"The skill's answer could not be read: {error}."))
        elif b'"jsonrpc"' in line:
            self._unreadable(f"a broken message was dropped: {error}: {excerpt}")
        else:
            self.violation(f"a stray line on standard output was dropped: {excerpt}")

    def _unreadable(self, what: str) -> None:
        """A message that may have been any answer was lost: nobody waits in vain for it."""
        self.violation(what)
        for pending in self._pending.values():
            pending.fail(ToolError(f"The skill sent something unreadable, so its answer may be lost: {what}."))

    def _take(self, message: Message) -> None:
        if isinstance(message, Response):
            self._take_response(message)
        elif isinstance(message, Request):
            self._take_request(message)
        else:
            self._on_notification(message.method, message.params)

    def _take_response(self, response: Response) -> None:
        ident = response.id if isinstance(response.id, int) else 0  # ours are integers from 1
        pending = self._pending.get(ident)
        if pending is None or pending.done.is_set():
            if ident in self._abandoned:
                self._abandoned.discard(ident)
            else:
                shown = sanitise_line(repr(response.id), limit=EXCERPT_CHARACTERS)
                self.violation(f"an answer to a request that was not made, or a second answer, was dropped: id {shown}")
            return
        if response.error is not None:
            pending.fail(Refused(response.error))
        else:
            pending.result = response.result
            pending.done.set()

    def _take_request(self, request: Request) -> None:
        try:
            answer = self._on_request(request.method, request.params)
            if isinstance(answer, dict):
                self._post(Response(request.id, answer))
            else:
                self._tasks.start_soon(self._answer, request.id, answer)
        except UnknownMethod:
            method = sanitise_line(request.method, limit=EXCERPT_CHARACTERS)
            self.violation(f"a request that perstack does not serve was refused: {method}")
            self._post(Response(request.id, error=ErrorObject(METHOD_NOT_FOUND, "Not offered by this client.")))

    async def _answer(self, ident: RequestId, answer: Awaitable[Mapping[str, object]]) -> None:
        try:
            response = Response(ident, dict(await answer))
        except Unanswerable as error:
            response = Response(ident, error=ErrorObject(INVALID_PARAMS, f"Not answered: {error}."))
        self._post(response)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write_all(self) -> None:
        """The one writer: a call that gives up never leaves half a message on the wire."""
        try:
            async for line in self._queue:
                await self._process.send(line)
        except (SandboxUnavailable, anyio.ClosedResourceError):
            self._close("its input is closed")

    def _post(self, message: Message) -> None:
        try:
            self._outgoing.send_nowait(encode(message))
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            return

    def _abandon(self, ident: int, reason: str) -> None:
        if self.closed is None:
            self._abandoned.add(ident)
            self.notify("notifications/cancelled", {"requestId": ident, "reason": reason})

    def _close(self, reason: str) -> None:
        if self.closed is None:
            self.closed = reason
            for pending in self._pending.values():
                pending.fail(ToolError(f"The skill is gone: {reason}."))
            self._outgoing.close()
