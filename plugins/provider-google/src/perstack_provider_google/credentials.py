"""Google Cloud's own credentials as a header, found by the vendor's library, which is imported for Vertex AI only."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from perstack.errors import ConfigError, Problem, ProviderError
from perstack.model_http import Authorise

if TYPE_CHECKING:
    from perstack.specs import Network

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
SECONDS = 30.0
TOKEN_BYTES = 1024 * 1024
"""Of one answer; a token has a few thousand."""
HINT = "Run: gcloud auth application-default login; or set GOOGLE_APPLICATION_CREDENTIALS."


class _Credentials(Protocol):
    token: str
    valid: bool

    def refresh(self, request: object) -> None: ...


@dataclass(frozen=True, slots=True)
class _Response:
    """What the library reads of an answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Transport:
    """The library's requests for tokens, by the same way as everything else. For threads beside the loop's own."""

    def __init__(self, network: Network, loop: asyncio.AbstractEventLoop) -> None:
        self._network = network
        self._loop = loop

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_options: object,
    ) -> _Response:
        """The answer to one request."""
        import httpx2

        asked = asyncio.run_coroutine_threadsafe(self._ask(url, method, body, headers, timeout or SECONDS), self._loop)
        try:
            return asked.result()
        except (httpx2.HTTPError, httpx2.StreamError, TimeoutError) as error:
            raise import_module("google.auth.exceptions").TransportError(type(error).__name__) from error

    async def _ask(
        self, url: str, method: str, body: bytes | None, headers: Mapping[str, str] | None, timeout: float
    ) -> _Response:
        import httpx2
        from perstack.outbound.transport import GuardedTransport

        guarded = GuardedTransport(self._network, what="may be asked for tokens")
        plain = {**(headers or {}), "accept-encoding": "identity"}  # what is not compressed cannot explode
        data = bytearray()
        async with (
            asyncio.timeout(timeout),
            httpx2.AsyncClient(transport=guarded, trust_env=False, timeout=timeout) as client,
            client.stream(method, url, content=body, headers=plain) as answer,
        ):
            async for chunk in answer.aiter_raw():
                data += chunk
                if len(data) > TOKEN_BYTES:
                    raise httpx2.StreamError(f"its answer is longer than {TOKEN_BYTES} bytes")
        return _Response(answer.status_code, answer.headers, bytes(data))


def bearer(path: str | None, network: Network) -> Authorise:
    """The header of each request, with a token that is renewed before it expires.

    Args:
        path: A file of credentials; None is what the library finds: gcloud's login, or the machine's own account.
        network: The way to the servers of tokens.
    """
    lock = asyncio.Lock()
    found: list[_Credentials] = []

    async def authorise(_url: str, _body: bytes) -> Mapping[str, str]:
        async with lock:
            transport = Transport(network, asyncio.get_running_loop())
            if not found:
                found.append(await asyncio.to_thread(_find, path, transport))
            credentials = found[0]
            if not credentials.valid:
                await asyncio.to_thread(_refresh, credentials, transport)
        return {"authorization": f"Bearer {credentials.token}"}

    return authorise


def _find(path: str | None, transport: Transport) -> _Credentials:
    auth = import_module("google.auth")
    try:
        if path is None:
            credentials: _Credentials = auth.default(scopes=SCOPES, request=transport)[0]
            return credentials
        with warnings.catch_warnings():  # it warns of files that others wrote; this one was named by the user
            warnings.simplefilter("ignore", DeprecationWarning)
            named: _Credentials = auth.load_credentials_from_file(path, scopes=SCOPES, request=transport)[0]
            return named
    except import_module("google.auth.exceptions").GoogleAuthError as error:
        raise ConfigError([Problem(message=f"Google Cloud has no credentials here: {error}", hint=HINT)]) from None


def _refresh(credentials: _Credentials, transport: Transport) -> None:
    errors = import_module("google.auth.exceptions")
    try:
        credentials.refresh(transport)
    except errors.TransportError as error:
        raise ProviderError(f"Google's server of tokens cannot be reached: {error}", retryable=True) from None
    except errors.GoogleAuthError as error:
        name = type(error).__name__
        raise ProviderError(f"Google gave no token ({name}).", hint=HINT) from None
