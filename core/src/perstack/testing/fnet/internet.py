"""Names, addresses and servers that look public, and the evidence of everything that reached them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from perstack.testing.fnet.dns import Addresses, NameServer, Query, reverse_name
from perstack.testing.fnet.namespace import Namespace
from perstack.testing.fnet.servers import Arrival, Page, Server


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
        arrivals: Every connection to any server, in order.
        pages: Content type and body by path, the same at every server.
    """

    def __init__(self, folder: Path, *, names: Sequence[str], namespace: Namespace | None = None) -> None:
        self._undo = contextlib.ExitStack()
        self.arrivals: list[Arrival] = []
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
    def queries(self) -> list[Query]:
        """Every question to the name server, in order."""
        return self._names.queries

    def forget(self) -> None:
        """Evidence begins anew."""
        self.queries.clear()
        self.arrivals.clear()

    def asked(self) -> set[str]:
        """Every name that was looked up."""
        return self._names.names()

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
        server = Server(listening, arrivals=self.arrivals, site=self._page, certificate=certificate, curve=curve)
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
