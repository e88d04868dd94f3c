"""A proxy of a network that has one: it speaks CONNECT, asks for a user, and resolves names for itself."""

from __future__ import annotations

import contextlib
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from perstack.testing.fnet.internet import Internet

ADDRESS, PORT = "10.20.30.40", 3128


@dataclass(kw_only=True)
class ParentProxy:
    """What came, and where names lead.

    Attributes:
        addresses: Where the proxy connects to for each name; it refuses every other name.
        user: `USER:PASSWORD` that it wants, or nothing.
        heads: Every request with its headers.
    """

    addresses: Mapping[str, str]
    user: str = ""
    heads: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{PORT}"

    def serve(self, internet: Internet, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=self._one, args=(internet, client), daemon=True).start()

    def _one(self, internet: Internet, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (received := client.recv(1)):
                    return
                head += received
            text = head.decode("latin-1")
            self.heads.append(text)
            wanted = f"Proxy-Authorization: Basic {b64encode(self.user.encode()).decode()}\r\n"
            host = text.split()[1].rpartition(":")[0]
            if self.user and wanted.lower() not in text.lower():
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            elif host not in self.addresses:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            else:
                with internet.connect(self.addresses[host]) as host_socket:
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    back = threading.Thread(target=_pump, args=(host_socket, client), daemon=True)
                    back.start()
                    _pump(client, host_socket)
                    back.join(10)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while received := source.recv(65536):
            sink.sendall(received)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def parent_proxy(internet: Internet, addresses: Mapping[str, str], *, user: str = "") -> Iterator[ParentProxy]:
    """A running proxy at a private address inside the internet's namespace."""
    with contextlib.suppress(Exception):
        internet.namespace.add_address(ADDRESS)

    def listen() -> socket.socket:
        return socket.create_server((ADDRESS, PORT), backlog=64)

    proxy = ParentProxy(addresses=addresses, user=user)
    with contextlib.closing(internet.namespace.inside(listen)) as listening:
        threading.Thread(target=proxy.serve, args=(internet, listening), daemon=True).start()
        try:
            yield proxy
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
