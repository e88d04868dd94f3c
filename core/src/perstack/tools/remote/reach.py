"""HTTP to one endpoint and no other, at addresses that were checked before anything is sent to them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import anyio
import httpx2
from perstack_proxy.addresses import special_purpose
from perstack_proxy.limits import MIB
from perstack_proxy.sanitise import sanitise_line

from perstack.protocols import Access

ANSWER_BYTES = 48 * MIB
"""Of an answer in one piece: the largest PDF in base64 and its envelope, as over stdio."""
RESOLVE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
MAX_ADDRESSES = 8

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]


class Blocked(httpx2.RequestError):
    """A request that perstack did not send, and why."""


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses that the system's resolver gives for `host`."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """What may be reached, and how. Tests replace its parts; nothing else does.

    Attributes:
        resolve: Addresses of a host.
        refusal: Why an address may not be reached, or None when it may.
        tls: Makes the context that verifies servers.
        schemes: What an endpoint's URL may begin with.
    """

    resolve: Resolve = resolved
    refusal: Callable[[str], str | None] = special_purpose
    tls: Callable[[], ssl.SSLContext] = httpx2.create_ssl_context
    schemes: frozenset[str] = frozenset({"https"})


INTERNET = Reach()
"""Every public address, by https."""


class PinnedTransport(httpx2.AsyncBaseTransport):
    """Sends requests for one origin to its checked addresses; everything else is refused and recorded.

    The name is resolved once and each of its addresses is checked: one that may not be reached refuses all of them.
    What is connected to is the address and never the name, so a later answer of a name server changes nothing. TLS
    verifies the name all the same. When no address answers, the name is resolved and checked again, once.
    """

    def __init__(self, endpoint: httpx2.URL, reach: Reach, access: Callable[[Access], None]) -> None:
        self._endpoint = endpoint
        self._reach = reach
        self._access = access
        self._host = endpoint.host
        self._port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
        self._addresses: tuple[str, ...] = ()
        self._inner = httpx2.AsyncHTTPTransport(verify=reach.tls(), trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer, its body bounded unless it is a stream of events, each of which is bounded elsewhere."""
        wanted = (request.url.scheme, request.url.host, request.url.port)
        if wanted != (self._endpoint.scheme, self._host, self._endpoint.port):
            raise self._blocked(request, f"only {self._endpoint.host} is this skill's endpoint", request.url.host)
        if request.url.scheme not in self._reach.schemes:
            raise self._blocked(request, "the endpoint is not https")
        known = bool(self._addresses)
        try:
            response = await self._send(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            if not known:
                raise
            self._addresses = ()  # it may have moved
            response = await self._send(request)
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            await response.aclose()
            raise self._blocked(request, "the server compressed its answer, which it was asked not to do")
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            response.stream = _Bounded(response.stream, ANSWER_BYTES)  # type: ignore[arg-type]  # it is asynchronous
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        if not self._addresses:
            self._addresses = await self._checked(request)
        *others, last = self._addresses
        for address in others:
            with suppress(httpx2.ConnectError, httpx2.ConnectTimeout):  # nothing was sent yet
                return await self._inner.handle_async_request(self._pinned(request, address))
        return await self._inner.handle_async_request(self._pinned(request, last))

    async def _checked(self, request: httpx2.Request) -> tuple[str, ...]:
        try:
            with anyio.fail_after(RESOLVE_SECONDS):
                found = await self._reach.resolve(self._host, self._port)
        except (OSError, TimeoutError, UnicodeError) as error:
            reason = f"the name could not be resolved: {sanitise_line(str(error) or 'no answer in time')}"
            raise self._blocked(request, reason) from None
        for address in found:
            try:
                refusal = self._reach.refusal(address)
            except ValueError:
                refusal = "not an address"
            if refusal is not None:
                raise self._blocked(request, f"its address {address} is not public: {refusal}")
        if not found:
            raise self._blocked(request, "the name has no address")
        return tuple(found[:MAX_ADDRESSES])

    def _pinned(self, request: httpx2.Request, address: str) -> httpx2.Request:
        """`request`, to be sent to `address`: its Host header and the name that TLS verifies stay."""
        return httpx2.Request(
            method=request.method,
            url=request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": self._host, "trace": self._trace},
        )

    async def _trace(self, name: str, _info: Mapping[str, object]) -> None:
        if name == "connection.connect_tcp.complete":
            self._access(Access(allowed=True, domain=self._host, port=self._port))

    def _blocked(self, request: httpx2.Request, reason: str, host: str = "") -> Blocked:
        domain, reason = sanitise_line(host or self._host), sanitise_line(reason)
        self._access(Access(allowed=False, domain=domain, port=self._port, reason=reason))
        return Blocked(reason, request=request)


class _Bounded(httpx2.AsyncByteStream):
    """A body of at most `limit` bytes."""

    def __init__(self, stream: httpx2.AsyncByteStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._limit
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise httpx2.StreamError(f"the answer is longer than {self._limit} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def http_client(
    endpoint: str, headers: Mapping[str, str], *, reach: Reach, access: Callable[[Access], None]
) -> httpx2.AsyncClient:
    """A client that reaches `endpoint`'s origin alone, with `headers` on every request."""
    return httpx2.AsyncClient(
        headers={**headers, "accept-encoding": "identity"},  # what is not compressed cannot explode
        transport=PinnedTransport(httpx2.URL(endpoint), reach, access),
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),  # each request has a deadline of its own
        follow_redirects=False,
        trust_env=False,
    )
