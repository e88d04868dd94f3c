"""The way through a gate: its unix socket is asked for the host, and what follows is the host's."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import TypeAlias

import httpcore2
import httpx2
from perstack_proxy.sanitise import sanitise_line

HEAD_BYTES = 64 * 1024

SocketOption: TypeAlias = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class GateBackend(httpcore2.AnyIOBackend):
    """Connects to hosts by CONNECT over a gate's unix socket, and in no other way."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - the library's form
        socket_options: Iterable[SocketOption] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        """A connection that the gate opened.

        Raises:
            httpcore2.ConnectError: It did not; its reason is the error's.
        """
        stream = await self.connect_unix_socket(self._path, timeout)
        try:
            request = f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
            await stream.write(request.encode("ascii"), timeout)
            head = b""
            while b"\r\n\r\n" not in head and len(head) < HEAD_BYTES:
                received = await stream.read(HEAD_BYTES, timeout)
                if not received:
                    break
                head += received
            if not head.startswith(b"HTTP/1.1 200 "):
                while received := await stream.read(HEAD_BYTES, timeout):
                    head += received
                raise httpcore2.ConnectError(f"the gate refused it: {_why(head)}")
        except BaseException:
            await stream.aclose()
            raise
        return stream


def through_gate(path: str, *, tls: ssl.SSLContext, limits: httpx2.Limits) -> httpx2.AsyncHTTPTransport:
    """A transport whose every connection goes through the gate at `path`."""
    made = httpx2.AsyncHTTPTransport(verify=tls, trust_env=False)
    # The library lets its pool have another way to connect, and its transport no other pool: this is the seam.
    made._pool = httpcore2.AsyncConnectionPool(  # noqa: SLF001
        ssl_context=tls,
        max_connections=limits.max_connections,
        max_keepalive_connections=limits.max_keepalive_connections,
        keepalive_expiry=limits.keepalive_expiry,
        network_backend=GateBackend(path),
    )
    return made


def _why(answer: bytes) -> str:
    with suppress(ValueError, KeyError, TypeError):
        return sanitise_line(str(json.loads(answer.partition(b"\r\n\r\n")[2])["why"]))
    return "it gave no reason"
