"""HTTP to one endpoint and no other, its answers bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import httpx2

from perstack.outbound.grants import origin_of, parse_grant
from perstack.outbound.transport import GuardedTransport, Reach
from perstack.protocols import Access
from perstack.specs import Network

MIB = 1024 * 1024
ANSWER_BYTES = 48 * MIB
"""Of an answer in one piece: the largest PDF in base64 and its envelope, as over stdio."""
CONNECT_SECONDS = 10.0


class EndpointTransport(httpx2.AsyncBaseTransport):
    """Asks one origin. Bodies of answers are bounded, unless they are streams of events, which others bound."""

    def __init__(self, endpoint: str, *, reach: Reach, access: Callable[[Access], None], gate: str | None) -> None:
        place = parse_grant(origin_of(endpoint))
        self._schemes = reach.schemes
        network = Network(grants=(place,), gate=gate, access=access)
        self._guarded = GuardedTransport(network, reach=reach, what="is this skill's endpoint")

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer, which is neither compressed nor endless."""
        if request.url.scheme not in self._schemes:
            raise self._guarded.blocked(request, "the endpoint is not https")
        response = await self._guarded.handle_async_request(request)
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            await response.aclose()
            raise self._guarded.blocked(request, "the server compressed its answer, which it was asked not to do")
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            response.stream = _Bounded(response.stream, ANSWER_BYTES)  # type: ignore[arg-type]  # it is asynchronous
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        await self._guarded.aclose()


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
    endpoint: str,
    headers: Mapping[str, str],
    *,
    reach: Reach,
    access: Callable[[Access], None],
    gate: str | None = None,
) -> httpx2.AsyncClient:
    """A client that reaches `endpoint`'s origin alone, with `headers` on every request."""
    return httpx2.AsyncClient(
        headers={**headers, "accept-encoding": "identity"},  # what is not compressed cannot explode
        transport=EndpointTransport(endpoint, reach=reach, access=access, gate=gate),
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),  # each request has a deadline of its own
        follow_redirects=False,
        trust_env=False,
    )
