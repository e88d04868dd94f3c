"""HTTP to granted places and no others, at addresses that were checked before anything is sent to them."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import anyio
import httpcore2
import httpx2
from perstack_proxy.addresses import special_purpose
from perstack_proxy.sanitise import sanitise_line

from perstack.errors import ConfigError, Problem
from perstack.outbound.bypass import proxy_of
from perstack.outbound.gate import through_gate
from perstack.outbound.grants import covering
from perstack.protocols import Access
from perstack.specs import HostGrant, Network

RESOLVE_SECONDS = 10.0
MAX_ADDRESSES = 8
NEXT_ADDRESS_SECONDS = 2.0
"""For an address to answer while there is another one to try."""
IDLE_CONNECTIONS = httpx2.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=60.0)
"""Idle connections are kept for steps whose tools take a while."""

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
Place: TypeAlias = tuple[str, int]
Trace: TypeAlias = Callable[[str, Mapping[str, httpcore2.AsyncNetworkStream]], Awaitable[None]]


class Blocked(httpx2.RequestError):
    """A request that perstack did not send, and why."""


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses that the system's resolver gives for `host`."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def trusting() -> ssl.SSLContext:
    """A context that verifies servers by the certificates that this machine trusts.

    Raises:
        ConfigError: The variable that names them names something else.
    """
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        name = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), None)
        if name is None:
            raise
        message = f"{name} is {os.environ[name]!r}, where no certificates can be read: {error.strerror or error}."
        raise ConfigError([Problem(message=message, hint="Name a file of certificates in PEM, or unset it.")]) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """How places are reached. Tests replace its parts; nothing else does.

    Attributes:
        resolve: Addresses of a host.
        refusal: Why an address may not be reached, or None when it may.
        tls: Makes the context that verifies servers.
        schemes: What an endpoint's URL may begin with.
    """

    resolve: Resolve = resolved
    refusal: Callable[[str], str | None] = special_purpose
    tls: Callable[[], ssl.SSLContext] = trusting
    schemes: frozenset[str] = frozenset({"https"})


INTERNET = Reach()
"""Every public address, by https."""


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to granted places; everything else is refused and recorded, as each connection is.

    A name is resolved once and each of its addresses is checked: one that may not be reached refuses all of them. What
    is connected to is the address and never the name, so a later answer of a name server changes nothing. TLS verifies
    the name all the same. When no address answers, the name is resolved and checked again, once. A place that the
    configuration itself names may be at any address. Through a proxy or a gate, the name is theirs to resolve.

    Args:
        network: The grants, and the way to them.
        reach: How addresses are found and checked.
        tls: Verifies servers; None makes one of `reach`.
        what: What the grants are for, in a refusal.
    """

    def __init__(
        self, network: Network, *, reach: Reach = INTERNET, tls: ssl.SSLContext | None = None, what: str = ""
    ) -> None:
        self._network = network
        self._reach = reach
        self._what = what
        self._addresses: dict[Place, tuple[str, ...]] = {}
        self._tls = reach.tls() if tls is None else tls
        self._direct = httpx2.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=IDLE_CONNECTIONS)
        self._others: dict[str, httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer of a place that may be asked."""
        grant = self._granted(request)
        if self._network.gate is not None and grant.gated:
            return await self._gate(self._network.gate).handle_async_request(request)  # which keeps the record
        request.extensions = {**request.extensions, "trace": self._trace(request)}
        proxy = proxy_of(str(request.url), self._network.proxy)
        if proxy is not None:
            return await self._proxied(proxy).handle_async_request(request)
        if grant.private:
            return await self._direct.handle_async_request(request)
        place = _place(request)
        known = place in self._addresses
        try:
            return await self._send(request, place)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            if not known:
                raise
            del self._addresses[place]  # it may have moved
            return await self._send(request, place)

    async def aclose(self) -> None:
        """Close every connection."""
        for inner in (self._direct, *self._others.values()):
            await inner.aclose()

    def blocked(self, request: httpx2.Request, reason: str) -> Blocked:
        """The error for a request that is not sent, or whose answer is not taken; it is recorded."""
        host, port = _place(request)
        reason = sanitise_line(reason)
        self._network.access(Access(allowed=False, domain=sanitise_line(host, limit=255), port=port, reason=reason))
        return Blocked(reason, request=request)

    def _granted(self, request: httpx2.Request) -> HostGrant:
        host, port = _place(request)
        if self._network.grants is None:
            return HostGrant(host=host, port=port, tls=request.url.scheme == "https", private=True)
        grant = covering(self._network.grants, scheme=request.url.scheme, host=host, port=port)
        if grant is None:
            allowed = ", ".join(map(str, self._network.grants)) or "nothing"
            raise self.blocked(request, f"only {allowed} {self._what}".rstrip())
        return grant

    def _gate(self, path: str) -> httpx2.AsyncHTTPTransport:
        if path not in self._others:
            self._others[path] = through_gate(path, tls=self._tls, limits=IDLE_CONNECTIONS)
        return self._others[path]

    def _proxied(self, url: str) -> httpx2.AsyncHTTPTransport:
        if url not in self._others:
            self._others[url] = httpx2.AsyncHTTPTransport(
                verify=self._tls, trust_env=False, limits=IDLE_CONNECTIONS, proxy=url
            )
        return self._others[url]

    async def _send(self, request: httpx2.Request, place: Place) -> httpx2.Response:
        if place not in self._addresses:
            self._addresses[place] = await self._checked(request, place)
        *others, last = self._addresses[place]
        for address in others:
            with suppress(httpx2.ConnectError, httpx2.ConnectTimeout):  # nothing was sent yet
                answer = await self._direct.handle_async_request(_pinned(request, address, hurried=True))
                self._addresses[place] = (address, *(one for one in self._addresses[place] if one != address))
                return answer
        return await self._direct.handle_async_request(_pinned(request, last))

    async def _checked(self, request: httpx2.Request, place: Place) -> tuple[str, ...]:
        try:
            with anyio.fail_after(RESOLVE_SECONDS):
                found = await self._reach.resolve(*place)
        except (OSError, TimeoutError, UnicodeError) as error:
            reason = f"the name could not be resolved: {sanitise_line(str(error) or 'no answer in time')}"
            blocked = self.blocked(request, reason)
            raise httpx2.ConnectError(str(blocked), request=request) from None
        for address in found:
            try:
                refusal = None if self._named(address) else self._reach.refusal(address)
            except ValueError:
                refusal = "not an address"
            if refusal is not None:
                raise self.blocked(request, f"its address {address} is not public: {refusal}")
        if not found:
            raise self.blocked(request, "the name has no address")
        return tuple(found[:MAX_ADDRESSES])

    def _named(self, address: str) -> bool:
        """Whether the address is itself a place that may be private."""
        return any(grant.private and grant.host == address for grant in self._network.grants or ())

    def _trace(self, request: httpx2.Request) -> Trace:
        host, port = _place(request)

        async def trace(name: str, info: Mapping[str, httpcore2.AsyncNetworkStream]) -> None:
            if name == "connection.connect_tcp.complete":
                try:
                    self._network.access(Access(allowed=True, domain=host, port=port))
                except BaseException:  # what cannot be recorded does not happen
                    await info["return_value"].aclose()
                    raise

        return trace


def _place(request: httpx2.Request) -> Place:
    return request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)


def _pinned(request: httpx2.Request, address: str, *, hurried: bool = False) -> httpx2.Request:
    """`request`, to be sent to `address`: its Host header and the name that TLS verifies stay."""
    extensions = {**request.extensions, "sni_hostname": request.url.host}
    if hurried:
        timeout = dict(extensions.get("timeout") or {})
        timeout["connect"] = min(timeout.get("connect") or NEXT_ADDRESS_SECONDS, NEXT_ADDRESS_SECONDS)
        extensions["timeout"] = timeout
    return httpx2.Request(
        method=request.method,
        url=request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions=extensions,
    )


def needs_certificates(url: str, network: Network) -> bool:
    """Whether requests to `url` may use TLS, for which loading the trusted certificates takes 20 ms."""
    return url.startswith("https:") or proxy_of(url, network.proxy) is not None
