"""Names, addresses and servers that look public, and the evidence of everything that reached them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from perstack.testing.fnet.dns import KNOCK, Addresses, NameServer, Query, reverse_name
from perstack.testing.fnet.namespace import Namespace
from perstack.testing.fnet.servers import Arrival, Page, Server

SETTLE_SECONDS = 60.0
"""For a server that is there to accept."""


class Internet:
    """A namespace with a name server and servers of its own; what runs inside sees nothing else.

    Args:
        folder: For certificates and resolv.conf.
        names: Names that the servers' certificate is for; `*.` and a name is one of them.
        namespace: Where it is to be; a new one if None.

    Attributes:
        namespace: Where programs run that should see this internet.
        authority: File with the certificate that clients have to trust.
        certificate: File with the servers' certificate and its key.
        pages: Content type and body by path, the same at every server.
    """

    def __init__(self, folder: Path, *, names: Sequence[str], namespace: Namespace | None = None) -> None:
        self._undo = contextlib.ExitStack()
        self._arrivals: list[Arrival] = []
        self._settling = threading.Lock()
        self.pages: dict[str, Page] = {"/": ("text/plain", b"hello")}
        self.authority, self.certificate = make_certificates(folder, names)
        self._addresses = {"127.0.0.1", "::1"}
        self._servers: dict[tuple[str, int], Server] = {}
        with contextlib.ExitStack() as undo:
            self.namespace = undo.enter_context(namespace or Namespace(folder))
            self._names = NameServer(self._bound("127.0.0.1", 53, socket.SOCK_DGRAM))
            undo.callback(self._names.close)
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    @property
    def arrivals(self) -> list[Arrival]:
        """Every connection to any server before this moment, in the order in which they were accepted.

        Each server is knocked at, and the knock has to be on record: a server accepts in the order of arrival, so what
        came before it is there as well, and nothing else is.
        """
        with self._settling, contextlib.ExitStack() as undo:
            knocks = self.namespace.inside(self._knock)
            for knock in knocks.values():
                undo.callback(knock.close)
            deadline = time.monotonic() + SETTLE_SECONDS
            while not all(self._is_recorded(knock) for knock in knocks):
                if time.monotonic() > deadline:
                    raise AssertionError("a server of the fake internet does not accept connections")
                time.sleep(0.0005)
            for arrival in self._arrivals:
                arrival.knock |= (arrival.address, arrival.port, arrival.peer) in knocks
            return [arrival for arrival in list(self._arrivals) if not arrival.knock]

    @property
    def queries(self) -> list[Query]:
        """Every question to the name server before this moment, in order. It is asked itself, for the same reason."""
        self.namespace.inside(self._names.knock)
        return [query for query in list(self._names.queries) if query.name != KNOCK]

    def forget(self) -> None:
        """Evidence begins anew: what has come so far is no part of it."""
        _ = self.arrivals, self.queries
        self._names.queries.clear()
        self._arrivals.clear()

    def asked(self) -> set[str]:
        """Every name that was looked up."""
        return {query.name for query in self.queries}

    def name(self, name: str, addresses: Addresses) -> None:
        """The name has these addresses; a callable is asked for them each time."""
        self._names.zone[name] = addresses

    def pointer(self, address: str, name: str) -> None:
        """A reverse lookup of the address answers this name."""
        self._names.pointers[reverse_name(address)] = name

    def serve(self, address: str, port: int = 443, *, tls: bool = True, curve: str = "") -> Server:
        """A server at this address, which becomes the namespace's own; the same one if it is there already."""
        if (address, port) in self._servers:
            return self._servers[address, port]
        if address not in self._addresses and not address.startswith("127."):
            self.namespace.add_address(address)
            self._addresses.add(address)
        listening = self._bound(address, port, socket.SOCK_STREAM)
        certificate = self.certificate if tls else None
        server = Server(listening, arrivals=self._arrivals, site=self._page, certificate=certificate, curve=curve)
        self._undo.callback(server.close)
        self._servers[address, port] = server
        return server

    def site(self, name: str, address: str) -> Server:
        """A TLS server at this address, with this name."""
        self.name(name, [address])
        return self.serve(address)

    def connect(self, address: str, port: int = 443) -> socket.socket:
        """A connection from inside to an address, past everything that is being tested."""
        return self.namespace.inside(lambda: socket.create_connection((address, port), timeout=10))

    def _knock(self) -> dict[tuple[str, int, int], socket.socket]:
        """A connection to each server, by the server's place and our own port."""
        knocks = {}
        for address, port in self._servers:
            made = socket.create_connection((address, port), timeout=SETTLE_SECONDS)
            knocks[address, port, made.getsockname()[1]] = made
        return knocks

    def _is_recorded(self, knock: tuple[str, int, int]) -> bool:
        return any((one.address, one.port, one.peer) == knock for one in list(self._arrivals))

    def _page(self, path: str) -> Page | None:
        return self.pages.get(path.partition("?")[0])

    def _bound(self, address: str, port: int, kind: socket.SocketKind) -> socket.socket:
        def bind() -> socket.socket:
            with contextlib.ExitStack() as undo:
                made = undo.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind))
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((address, port))
                undo.pop_all()
                return made

        return self.namespace.inside(bind)


def make_certificates(folder: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """An authority's certificate, and a file with certificate and key for the names. Made by the openssl command."""
    authority, key = folder / "authority.pem", folder / "authority.key"
    leaf, leaf_key, both = folder / "leaf.pem", folder / "leaf.key", folder / "server.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    alternative = "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)
    extensions = [alternative, "basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth"]
    purpose = [word for extension in extensions for word in ("-addext", extension)]
    signed = ["-CA", str(authority), "-CAkey", str(key)]
    commands = [
        [*new, "-subj", "/CN=test authority", *usage, "-out", str(authority), "-keyout", str(key)],
        [*new, "-subj", "/CN=test", *signed, *purpose, "-out", str(leaf), "-keyout", str(leaf_key)],
    ]
    for command in commands:
        subprocess.run(command, capture_output=True, timeout=30, check=True)
    both.write_bytes(leaf.read_bytes() + leaf_key.read_bytes())
    both.chmod(0o600)
    return authority, both
