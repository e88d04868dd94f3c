"""GET from registries, on the trusted side: tokens are added here, and everything that comes back is bounded.

A registry's own host may be anywhere, since the user named it. Whatever host it points on to has to be public and gets
no token. Requests go over https; to this machine itself http is good enough.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin, urlsplit

import anyio
from perstack_proxy.limits import MIB
from perstack_proxy.sanitise import sanitise_line

from perstack.errors import SkillError
from perstack.outbound.grants import is_loopback, parse_grant
from perstack.specs import Network

if TYPE_CHECKING:
    import httpx2

    from perstack.locking.registries import Registry
    from perstack.specs import Proxy

FILE_BYTES = 512 * MIB
"""Of one package. The largest wheels of MCP servers have a tenth."""
METADATA_BYTES = 64 * MIB
"""Of what a registry says of one package. Ten years of nightly releases are 20 MiB."""
SECONDS = 300.0
CONNECT_SECONDS = 10.0
REDIRECTS = 5
AT_ONCE = 8
ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a registry answered."""

    status: int
    type: str
    body: bytes = field(repr=False)


class Fetcher:
    """Connections to the registries of one installation, and to the hosts that they point to."""

    def __init__(self, registries: Sequence[Registry], *, authorities: Sequence[Path], proxy: Proxy | None) -> None:
        self._registries = tuple(registries)
        self._authorities = authorities
        self._proxy = proxy
        self._clients: dict[str, httpx2.AsyncClient] = {}
        self._limit = anyio.Semaphore(AT_ONCE)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def get(self, url: str, *, accept: str = "*/*", limit: int = FILE_BYTES) -> Answer:
        """The answer at `url` of at most `limit` bytes, after redirects; statuses of errors are answers too.

        Raises:
            SkillError: There is none; names the host and never more of the URL.
        """
        import httpx2

        async with self._limit:
            for _ in range(REDIRECTS + 1):
                try:
                    answer, location = await self._once(url, accept, limit)
                    if location is None:
                        return answer
                    url = urljoin(url, location)
                except (ValueError, httpx2.InvalidURL) as error:
                    raise SkillError(f"A registry points to an address that is none: {error}.") from None
        raise SkillError(f"{_host(url)} redirects more than {REDIRECTS} times.")

    async def _once(self, url: str, accept: str, limit: int) -> tuple[Answer, str | None]:
        import httpx2

        headers = {"accept": accept, **self._authorization(url)}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with anyio.fail_after(SECONDS):
                    client = await self._client(url)
                    async with client.stream("GET", url, headers=headers) as response:
                        body = await _bounded(response, limit)
                kind = response.headers.get("content-type", "")
                location = response.headers.get("location") if response.is_redirect else None
                return Answer(status=response.status_code, type=kind, body=body), location
            except (httpx2.RequestError, httpx2.StreamError, TimeoutError) as error:
                if attempt == ATTEMPTS or not isinstance(error, httpx2.ConnectError | httpx2.ReadError):
                    words = sanitise_line(str(error) or type(error).__name__)
                    hint = "The address comes from the settings of npm, uv or pip."
                    raise SkillError(f"{_host(url)} could not be asked for packages: {words}.", hint=hint) from None
        raise AssertionError("the last attempt returns or raises")

    def _authorization(self, url: str) -> Mapping[str, str]:
        for one in self._registries:
            if one.authorization and url.startswith(one.url):
                return {"authorization": one.authorization}
        return {}

    async def _client(self, url: str) -> httpx2.AsyncClient:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._clients:
            client = self._made(origin)
            self._clients[origin] = await self._stack.enter_async_context(client)
        return self._clients[origin]

    def _made(self, origin: str) -> httpx2.AsyncClient:
        import httpx2

        from perstack.outbound.transport import INTERNET, GuardedTransport

        parts = urlsplit(origin)
        own = any(_origin(one.url) == origin for one in self._registries)
        if parts.scheme != "https" and not (own and is_loopback(parts.hostname or "")):
            raise SkillError(f"{_host(origin)} is to be asked without encryption.", hint="Only https is used.")
        if "@" in parts.netloc:
            raise SkillError(f"{_host(origin)} is to be asked with an account of the registry's choice.")
        place = parse_grant(origin, private=own)
        return httpx2.AsyncClient(
            headers={"accept-encoding": "identity"},  # what is not compressed cannot explode
            transport=GuardedTransport(
                Network(grants=(place,), proxy=self._proxy), reach=replace(INTERNET, tls=self._tls)
            ),
            timeout=httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    def _tls(self) -> ssl.SSLContext:
        from perstack.outbound.transport import trusting

        context = trusting()
        for path in self._authorities:
            try:
                context.load_verify_locations(path)
            except OSError as error:
                hint = "The settings of npm, uv or pip name it."
                raise SkillError(f"{path} holds no certificates that can be read: {error}.", hint=hint) from None
        return context


async def _bounded(response: httpx2.Response, limit: int) -> bytes:
    import httpx2

    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise httpx2.StreamError("it compressed its answer, which it was asked not to do")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise httpx2.StreamError(f"its answer is longer than {limit} bytes")
    return bytes(body)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _host(url: str) -> str:
    return sanitise_line(urlsplit(url).hostname or "an address without a host")
