"""MCP to a server that runs elsewhere: Streamable HTTP, and the older HTTP with server-sent events."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal

import anyio
import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from perstack.background import background
from perstack.config.headers import filled
from perstack.errors import SkillError
from perstack.outbound.transport import INTERNET, Reach
from perstack.protocols import ConnectRequest
from perstack.tools.remote.reach import ANSWER_BYTES, http_client
from perstack.tools.remote.session import RemoteSession, Streams, told

HANDSHAKE_SECONDS = 30.0
"""For a server that runs already to answer and to list its tools."""

Kind = Literal["http", "sse"]


class RemoteTransport:
    """Connects to remote servers. Each session has an HTTP client of its own, which reaches one origin."""

    def __init__(
        self,
        kind: Kind,
        *,
        reach: Reach = INTERNET,
        handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._kind = kind
        self._reach = reach
        self._handshake_seconds = handshake_seconds
        # The SDK logs what servers say. Without a handler Python would write that to the terminal.
        logging.getLogger("mcp").addHandler(logging.NullHandler())

    @asynccontextmanager
    async def connect(self, request: ConnectRequest) -> AsyncIterator[RemoteSession]:
        """A session after handshake and tool listing."""
        policy = request.policy
        try:
            headers = {header.name: filled(header.template, request.env) for header in policy.headers}
        except ValueError as error:
            raise SkillError(f"Skill {policy.skill!r} cannot be asked: {error}.") from None

        def streams() -> Streams:
            client = http_client(policy.endpoint, headers, reach=self._reach, access=request.access, gate=request.gate)
            return _sse(policy.endpoint, client) if self._kind == "sse" else _http(policy.endpoint, client)

        async with background() as tasks:
            session = RemoteSession(request, streams, tasks)
            try:
                with anyio.fail_after(self._handshake_seconds):
                    await session.open()
            except TimeoutError:
                raise SkillError(
                    f"Skill {policy.skill!r} did not answer within {self._handshake_seconds:g} s.",
                    hint="Check its endpoint.",
                ) from None
            except Exception as error:
                raise SkillError(
                    f"Skill {policy.skill!r} did not connect: {told(error)}", hint="Check its endpoint and its headers."
                ) from error
            yield session


@asynccontextmanager
async def _http(url: str, client: httpx2.AsyncClient) -> AsyncIterator[object]:
    async with client, streamable_http_client(url, http_client=client, max_sse_event_size=ANSWER_BYTES) as streams:
        yield streams


def _sse(url: str, client: httpx2.AsyncClient) -> AbstractAsyncContextManager[object]:
    def the_client(
        headers: dict[str, str] | None = None,  # noqa: ARG001 - the SDK's form of a factory
        timeout: httpx2.Timeout | None = None,  # noqa: ARG001
        auth: httpx2.Auth | None = None,  # noqa: ARG001
    ) -> httpx2.AsyncClient:
        return client

    return sse_client(url, httpx_client_factory=the_client)
