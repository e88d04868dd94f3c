"""One HTTP client for one set of credentials: it posts a body and yields the events, or the parts, of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from perstack_proxy.limits import MIB

from perstack import __version__
from perstack.errors import ProviderError
from perstack.model_http.failures import (
    cut_off,
    malformed,
    not_allowed,
    refused,
    too_slow,
    unreachable,
    without_secrets,
)
from perstack.model_http.framing import SERVER_SENT_EVENTS, Answer, Event, Framing
from perstack.outbound.bypass import proxy_of
from perstack.protocols import StreamPart
from perstack.specs import ANYWHERE, Network

if TYPE_CHECKING:
    import httpx2

EVENT_BYTES = 8 * MIB
"""Longest event: servers that do not stream arguments send a whole file to write in one."""
ANSWER_CHARACTERS = 64 * MIB
"""Longest answer; the largest output limit of a known model is 128,000 tokens, under 1 MiB."""
ERROR_BYTES = 64 * 1024
DRAIN_SECONDS = 0.2
"""Time for the end of a body after the answer's own end: then the connection can serve the next step."""


Authorise: TypeAlias = Callable[[str, bytes], Awaitable[Mapping[str, str]]]
"""The headers that one request alone has, from its URL and its body: a signature, or a token that is still valid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Seconds until a request has failed; the time for the whole answer comes with each request.

    Attributes:
        connect: For a connection, TLS included.
        first: Until the first event; None is the whole answer's, since a model may think for long before it speaks.
        idle: Between two events.
    """

    connect: float = 10.0
    first: float | None = None
    idle: float = 120.0


class ModelClient:
    """A connection to one base URL with one set of credentials, which go nowhere else. It follows no redirect.

    Args:
        provider: Names the server in errors.
        headers: Sent with every request.
        key: Name of the variable that holds the key, for hints.
        secrets: Values that never stand in an error.
        network: The way to the server, which it has to be granted by.
        authorise: Makes the headers that differ from request to request.
        framing: How events stand in an answer's body.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        *,
        provider: str,
        base_url: str,
        headers: Mapping[str, str],
        key: str = "",
        secrets: Sequence[str] = (),
        network: Network = ANYWHERE,
        authorise: Authorise | None = None,
        framing: Framing = SERVER_SENT_EVENTS,
        timeouts: Timeouts = Timeouts(),  # frozen
    ) -> None:
        import ssl

        import httpx2

        from perstack.outbound.transport import GuardedTransport, needs_certificates

        self._provider = provider
        self._base_url = base_url
        self._key = key
        # "Bearer KEY" is a header's value, and KEY what a server may repeat.
        parts = (value.partition(" ")[2] for value in secrets)
        self._secrets = (*secrets, *filter(None, parts), *(network.proxy.secrets if network.proxy else ()))
        self._proxied = proxy_of(base_url, network.proxy) is not None
        self._authorise = authorise
        self._framing = framing
        self._timeouts = timeouts
        # Without the trusted certificates a TLS connection is refused, never unverified.
        tls = None if needs_certificates(base_url, network) else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client = httpx2.AsyncClient(
            headers={
                "user-agent": f"perstack/{__version__}",
                "accept": framing.content_type,
                "accept-encoding": "identity",  # what is not compressed cannot explode
                **headers,
                "content-type": "application/json",
            },
            transport=GuardedTransport(network, tls=tls, what=f"may be asked by {provider}"),
            timeout=httpx2.Timeout(None, connect=timeouts.connect),
            follow_redirects=False,
            trust_env=False,
        )

    async def answer(
        self, path: str, body: Mapping[str, object], *, timeout: float, answer: Answer
    ) -> AsyncGenerator[StreamPart, None]:
        """The parts that `answer` makes of the events; see `events` for the rest."""
        try:
            async with aclosing(self.events(path, body, timeout=timeout, is_end=answer.is_end)) as events:
                async for event in events:
                    for part in answer.feed(event):
                        yield part
            for part in answer.end():
                yield part
        except ProviderError as error:
            raise without_secrets(error, self._secrets) from None

    async def events(
        self, path: str, body: Mapping[str, object], *, timeout: float, is_end: Callable[[Event], bool] | None
    ) -> AsyncGenerator[Event, None]:
        """The answer's events up to the one that says that the answer is whole.

        Args:
            path: Appended to the base URL.
            body: Sent as JSON.
            timeout: Seconds for the whole answer.
            is_end: Whether an event is that last one; None is for formats that have none and end with the body.

        Raises:
            ProviderError: The server refused, failed, was too slow, or stopped before the end.
        """
        import httpx2

        from perstack.outbound.transport import Blocked

        begun = asyncio.get_running_loop().time()
        response: httpx2.Response | None = None
        try:
            try:
                async with asyncio.timeout(self._patience(timeout)):
                    content = msgspec.json.encode(body)
                    url = self._base_url + path
                    own = await self._authorise(url, content) if self._authorise is not None else None
                    request = self._client.build_request("POST", url, content=content, headers=own)
                    response = await self._client.send(request, stream=True)
                    await self._accept(response)
            except TimeoutError:
                raise too_slow(self._provider, self._patience(timeout), "begin to answer") from None
            async with aclosing(self._read(response, begun=begun, timeout=timeout, is_end=is_end)) as events:
                async for event in events:
                    yield event
        except httpx2.ConnectTimeout:
            raise too_slow(self._provider, self._timeouts.connect, "accept a connection") from None
        except ValueError as error:
            raise ProviderError(f"{self._provider} sent an answer that cannot be read: {error}") from None
        except Blocked as error:
            raise not_allowed(self._provider, str(error)) from None
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise unreachable(
                self._provider, self._base_url, reason, secrets=self._secrets, proxied=self._proxied
            ) from None
        finally:
            if response is not None:
                await response.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    def _patience(self, timeout: float) -> float:
        first = self._timeouts.first
        return timeout if first is None else min(first, timeout)

    async def _accept(self, response: httpx2.Response) -> None:
        if response.status_code != 200:
            body = await self._error_body(response)
            raise refused(
                self._provider,
                response.status_code,
                response.headers,
                body,
                key=self._key,
                secrets=self._secrets,
            )
        kind = response.headers.get("content-type", "none").partition(";")[0].strip()
        if kind.lower() != self._framing.content_type:
            raise ProviderError(
                f"{self._provider} answered with {kind[:100]!r} in place of an event stream.",
                hint="Check the base URL: is this the API's address?",
            )
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ProviderError(f"{self._provider} compressed its answer, which it was asked not to do.")

    async def _error_body(self, response: httpx2.Response) -> bytes:
        import httpx2

        body = b""
        try:
            async with aclosing(response.aiter_raw(ERROR_BYTES)) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) >= ERROR_BYTES:
                        break
        except httpx2.HTTPError:
            pass  # the status says enough
        return body

    async def _read(
        self, response: httpx2.Response, *, begun: float, timeout: float, is_end: Callable[[Event], bool] | None
    ) -> AsyncGenerator[Event, None]:
        import httpx2

        now = asyncio.get_running_loop().time
        deadline = begun + timeout
        patience = self._patience(timeout) - (now() - begun)
        size = 0
        events = self._framing.events(response, EVENT_BYTES)
        while True:
            limit = now() + patience
            try:
                async with asyncio.timeout_at(min(limit, deadline)):
                    event = await anext(events, None)
            except TimeoutError:
                if limit >= deadline:
                    raise too_slow(self._provider, timeout, "finish its answer") from None
                raise too_slow(self._provider, patience, "go on with its answer") from None
            if event is None:
                if is_end is None:
                    return
                raise cut_off(self._provider)
            size += len(event.data)
            if size > ANSWER_CHARACTERS:
                raise malformed(self._provider, f"an answer of over {ANSWER_CHARACTERS} characters")
            yield event
            if is_end is not None and is_end(event):
                with suppress(TimeoutError, httpx2.HTTPError):
                    async with asyncio.timeout(DRAIN_SECONDS):
                        await anext(events, None)
                return
            patience = self._timeouts.idle
