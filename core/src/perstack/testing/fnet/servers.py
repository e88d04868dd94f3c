"""TLS and plain servers that remember who connected, which name they were asked for, and what they were sent."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

_CHUNK = 64 * 1024
_KEPT = 64 * 1024


@dataclass(kw_only=True, slots=True)
class Arrival:
    """One connection that reached a server.

    Attributes:
        address: The server's address.
        port: The server's port.
        server_name: The name in the TLS handshake, if there was one.
        requests: First lines of the HTTP requests.
        headers: Their headers, as they came.
        data: The first bytes that came, after TLS where there is any.
        count: How many bytes of bodies came.
        peer: The client's own port.
        knock: Whether it is the fake internet's own, so that what came before it is on record.
    """

    address: str
    port: int
    server_name: str = ""
    requests: list[str] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    data: bytes = b""
    count: int = 0
    peer: int = 0
    knock: bool = False


Page = tuple[str, bytes]
#: In place of a content type, with a status behind it: the body is where the page is instead.
REDIRECT = "redirect "
Site = Callable[[str], Page | None]


class Server:
    """Serves one address and port until closed; a thread for each connection.

    Args:
        listening: A bound socket.
        arrivals: Where each connection is entered, before a byte of it is read.
        site: Content type and body by path; None for a path without a page.
        certificate: File with certificate and key for TLS, or None for plain bytes.
        curve: The only curve that it takes, so that clients with another one are asked for a second hello.
    """

    def __init__(
        self,
        listening: socket.socket,
        *,
        arrivals: list[Arrival],
        site: Site,
        certificate: Path | None,
        curve: str = "",
    ) -> None:
        self._listening = listening
        self._arrivals = arrivals
        self._site = site
        self._context: ssl.SSLContext | None = None
        self._handshakes: dict[ssl.SSLSocket | ssl.SSLObject, Arrival] = {}
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
            self._context.sni_callback = self._named
            if curve:
                self._context.set_ecdh_curve(curve)
        listening.listen(512)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Nobody is accepted any more."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        address, port = self._listening.getsockname()[:2]
        with contextlib.suppress(OSError):
            while True:
                try:
                    client, peer = self._listening.accept()
                except ConnectionError:  # it left before it was accepted
                    continue
                arrival = Arrival(address=address, port=port, peer=peer[1])
                self._arrivals.append(arrival)
                threading.Thread(target=self._serve, args=(client, arrival), daemon=True).start()

    def _serve(self, client: socket.socket, arrival: Arrival) -> None:
        with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as undo:
            undo.callback(client.close)
            client.settimeout(60)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                secure = self._context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
                client = undo.enter_context(secure)
                self._handshake(secure, arrival)
            with client.makefile("rb") as reader:
                while _exchange(reader, client, arrival, self._site):
                    pass

    def _handshake(self, secure: ssl.SSLSocket, arrival: Arrival) -> None:
        self._handshakes[secure] = arrival
        try:
            secure.do_handshake()
        finally:
            del self._handshakes[secure]

    def _named(self, secure: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self._handshakes[secure].server_name = name or ""


def _exchange(reader: BinaryIO, client: socket.socket, arrival: Arrival, site: Site) -> bool:
    """One HTTP request and its answer. Whether another may follow."""
    line = reader.readline(_CHUNK)
    arrival.data = (arrival.data + line)[:_KEPT]
    words = line.split()
    if len(words) != 3:
        return False
    method, path = words[0].decode("latin-1"), words[1].decode("latin-1")
    arrival.requests.append(f"{method} {path}")
    length, close = 0, words[2] != b"HTTP/1.1"
    while (header := reader.readline(_CHUNK).strip()) != b"":
        arrival.headers.append(header)
        name, _, value = header.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
        close |= name.lower() == b"connection" and value.strip().lower() == b"close"
    while length > 0 and (data := reader.read(min(length, _CHUNK))):
        arrival.data = (arrival.data + data)[:_KEPT] if len(arrival.data) < _KEPT else arrival.data
        arrival.count += len(data)
        length -= len(data)
    kind, body = site(path) or ("", b"")
    if kind.startswith(REDIRECT):
        status, kind = f"{kind.removeprefix(REDIRECT)} Elsewhere\r\nLocation: {body.decode()}", "text/plain"
    else:
        status = "200 OK" if kind else "404 Not Found"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind or 'text/plain'}\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + (b"" if method == "HEAD" else body))
    return not close
