"""Connections to hosts without another proxy: resolved once, every answer checked, one checked address connected to."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple, Protocol

from perstack_proxy.addresses import special_purpose

ADDRESS = "address"
UNRESOLVED = "unresolved"
UNREACHABLE = "unreachable"

#: Most addresses of one name that are tried.
_TRIED = 4


class DialError(Exception):
    """No connection.

    Attributes:
        code: `ADDRESS`, `UNRESOLVED`, `UNREACHABLE`, or another way's own.
        status: The HTTP status to answer with.
    """

    def __init__(self, code: str, reason: str, *, status: int) -> None:
        super().__init__(reason)
        self.code = code
        self.status = status


class Dialed(NamedTuple):
    """An open connection.

    Attributes:
        socket: Connected and blocking.
        address: Where it leads; with a proxy in between, every address that it may lead to.
        via: What leads there: `direct`, or the next proxy and what it knows the connection by.
    """

    socket: socket.socket
    address: str = ""
    via: str = "direct"


class Dialer(Protocol):
    """A way to hosts."""

    def dial(self, host: str, port: int, *, seconds: float) -> Dialed:
        """A connection to the host, over which nothing was sent.

        Raises:
            DialError: There is none; after `seconds` at the latest, as far as the resolver keeps to it.
        """


Resolve = Callable[[str], tuple[str, ...]]


def resolve(host: str) -> tuple[str, ...]:
    """Every address of the host, in the system's order of preference.

    Raises:
        OSError: There is none.
    """
    # The final dot keeps the search list of resolv.conf out, which would ask for names that nobody listed.
    found = socket.getaddrinfo(f"{host}.", 443, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


def public_addresses(host: str, resolve: Resolve = resolve) -> tuple[str, ...]:
    """Every address of the host. One special-purpose address among them denies them all.

    Raises:
        DialError: There is none, or one of them is not on the public internet.
    """
    try:
        addresses = resolve(host)
    except (OSError, UnicodeError):
        raise DialError(UNRESOLVED, f"{host!r} has no address", status=502) from None
    for address in addresses:
        if (purpose := special_purpose(address)) is not None:
            reason = f"{host!r} leads to {address}, which is not on the public internet: {purpose}"
            raise DialError(ADDRESS, reason, status=403)
    return addresses


class DirectDialer:
    """Connects itself, to an address that was checked."""

    def __init__(self, *, resolve: Resolve = resolve) -> None:
        self._resolve = resolve

    def dial(self, host: str, port: int, *, seconds: float) -> Dialed:
        """A connection to one checked address of the host."""
        deadline = monotonic() + seconds
        addresses = public_addresses(host, self._resolve)
        for tried, address in enumerate(addresses[:_TRIED]):
            share = (deadline - monotonic()) / (min(len(addresses), _TRIED) - tried)
            with contextlib.suppress(OSError):
                return Dialed(_connected(address, port, max(share, 0.1)), address)
        raise DialError(UNREACHABLE, f"{host!r} does not answer at {', '.join(addresses[:_TRIED])}", status=502)


def _connected(address: str, port: int, seconds: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.settimeout(seconds)
        found.connect((address, port))
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        found.close()
        raise
    return found
