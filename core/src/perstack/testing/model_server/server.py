"""The scripted model server: its own thread, one loopback port, and the record of every request."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType
from typing import Self

import msgspec

from perstack.testing.model_server.answer import JSON, answer, encoded
from perstack.testing.model_server.anthropic_messages import AnthropicMessages
from perstack.testing.model_server.bedrock_converse import BedrockConverse
from perstack.testing.model_server.gate import WAIT_SECONDS
from perstack.testing.model_server.google_generate import GoogleGenerate
from perstack.testing.model_server.http import Connection, Gone, HttpRequest
from perstack.testing.model_server.openai_chat import OpenAIChat
from perstack.testing.model_server.openai_responses import OpenAIResponses
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.model_server.script import Refuse, Script, Turn
from perstack.testing.model_server.wire import Wire

WIRES: tuple[Wire, ...] = (OpenAIChat(), OpenAIResponses(), AnthropicMessages(), GoogleGenerate(), BedrockConverse())
NO_TURN = Turn(fault=Refuse(status=400, message="the script has no turn for this request"), times=None)


class ModelServer:
    """A model that follows `script`, from entering the context to leaving it.

    Attributes:
        requests: What was asked, in order of arrival; read it at any time.
        unmatched: Those of them for which the script had no turn; they were answered with status 400.
    """

    def __init__(self, script: Script = (), *, port: int = 0) -> None:
        self._script = script
        self._used = [0] * (0 if callable(script) else len(script))
        self._port = port
        self._changed = threading.Condition()
        self._in_flight = 0
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-server", daemon=True)
        self.requests: list[ModelRequest] = []
        self.unmatched: list[ModelRequest] = []

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(WAIT_SECONDS):
            raise TimeoutError(f"The model server did not start within {WAIT_SECONDS} s")
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stopping is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(WAIT_SECONDS)
        if kind is None and self._failure is not None:
            raise self._failure

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return self._port

    @property
    def url(self) -> str:
        """The server's root."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def openai_url(self) -> str:
        """The base URL as OpenAI's clients take it."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The base URL as Anthropic's clients take it."""
        return self.url

    @property
    def peak(self) -> int:
        """The most requests that were being answered at the same time."""
        return max((request.in_flight for request in self.requests), default=0)

    @property
    def connections(self) -> int:
        """Connections that clients have opened."""
        return self._connections

    @property
    def unused(self) -> tuple[Turn, ...]:
        """Turns that answered fewer requests than they should; turns without end count when they answered none."""
        if callable(self._script):
            return ()
        pairs = zip(self._script, self._used, strict=True)
        return tuple(turn for turn, used in pairs if used < (turn.times or 1))

    def wait_requests(self, count: int, *, timeout: float = WAIT_SECONDS) -> None:
        """Return once `count` requests have arrived.

        Raises:
            TimeoutError: They did not within `timeout` seconds.
        """
        self._wait(lambda: len(self.requests) >= count, f"{count} requests", timeout)

    def wait_finished(self, count: int, *, timeout: float = WAIT_SECONDS) -> None:
        """Return once `count` requests have been answered, or their clients have gone.

        Raises:
            TimeoutError: They were not within `timeout` seconds.
        """
        self._wait(lambda: sum(r.finished is not None for r in self.requests) >= count, f"{count} answers", timeout)

    def _wait(self, condition: object, what: str, timeout: float) -> None:
        assert callable(condition)
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"Waited {timeout} s for {what}; {len(self.requests)} requests have arrived")

    # --- the server's thread ---

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:  # the port is taken
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._accepted, "127.0.0.1", self._port)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        task = asyncio.create_task(self._talk(Connection(reader, writer), self._connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, connection: Connection, number: int) -> None:
        try:
            while await self._exchange(connection, await connection.read(), number):
                pass
        except Gone:
            pass
        except Exception as error:  # noqa: BLE001  # a script's own mistake, raised where the test sees it
            self._failure = error
        finally:
            await connection.close()

    async def _exchange(self, connection: Connection, http: HttpRequest, number: int) -> bool:
        wire = next((wire for wire in WIRES if wire.serves(http.path)), None)
        if wire is None or http.method != "POST":
            await connection.whole(404, b'{"error": {"message": "no such path"}}', JSON)
            return True
        if not http.body.lstrip().startswith(b"{") or not _is_json(http.body):
            await connection.whole(400, encoded(wire.error(400, "the body is no JSON object")), JSON)
            return True
        request, turn = self._arrive(http, wire, number)
        try:
            return await answer(connection, wire, request, turn)
        except Gone:
            request.client_gone = True
            raise
        except asyncio.CancelledError:
            request.client_gone = connection.gone.is_set()
            raise
        finally:
            with self._changed:
                self._in_flight -= 1
                request.finish(time.monotonic())
                self._changed.notify_all()

    def _arrive(self, http: HttpRequest, wire: Wire, number: int) -> tuple[ModelRequest, Turn]:
        with self._changed:
            self._in_flight += 1
            request = ModelRequest(
                index=len(self.requests),
                wire=wire.name,
                path=http.path,
                target=http.target,
                headers=http.headers,
                raw=http.body,
                in_flight=self._in_flight,
                connection=number,
                arrived=time.monotonic(),
            )
            self.requests.append(request)
            turn = self._choose(request)
            if turn is NO_TURN:
                self.unmatched.append(request)
            self._changed.notify_all()
        return request, turn

    def _choose(self, request: ModelRequest) -> Turn:
        if callable(self._script):
            return self._script(request)
        for index, turn in enumerate(self._script):
            fits = turn.times is None or self._used[index] < turn.times
            if fits and (turn.when is None or turn.when(request)):
                self._used[index] += 1
                return turn
        return NO_TURN


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except msgspec.MsgspecError:
        return False
    return True
