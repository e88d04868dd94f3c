"""The proxy that stands between us and the internet where a network has one: it resolves names and connects.

With it the gate looks no name up, and cannot say which addresses its connections lead to.
"""

from __future__ import annotations

import re
import socket
from base64 import b64encode
from time import monotonic
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from perstack_proxy.connect import is_host_name
from perstack_proxy.dialer import UNREACHABLE, Dialed, DialError

VIA = "parent"
DEFAULT_PORT = 80

_REPLY_BYTES = 64 * 1024
_CREDENTIAL = re.compile(r"[\x20-\x7e]{0,256}")
_IPV4 = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")
#: Words that Squid takes for something else than a user's name.
_NO_USER = ("*", "NEGOTIATE", "PASS")


class ParentError(ValueError):
    """A URL that is no parent proxy's. The text does not repeat it, because it may hold a password."""


class Parent(NamedTuple):
    """A proxy that speaks CONNECT over plain HTTP.

    Attributes:
        host: Host name in its one spelling, or an IPv4 address.
        port: 1 to 65535.
        user: Empty for a proxy that asks for nobody.
        password: Printable ASCII, as the user is.
    """

    host: str
    port: int
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Parent(host={self.host!r}, port={self.port})"

    @property
    def authorization(self) -> bytes:
        """The header line that says who asks; empty for nobody."""
        if not self.user:
            return b""
        return b"Proxy-Authorization: Basic " + b64encode(f"{self.user}:{self.password}".encode()) + b"\r\n"

    @property
    def login(self) -> str:
        """User and password as Squid's file has them: no character but letters, digits, `._~-`, `%` and one colon."""
        return f"{quote(self.user, safe='')}:{quote(self.password, safe='')}" if self.user else ""


def parse_parent(url: str) -> Parent:
    """The parent proxy of `http://[USER:PASSWORD@]HOST[:PORT]`.

    Raises:
        ParentError: The URL is anything else.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        raise ParentError("the parent proxy is not a URL") from None
    if parts.scheme != "http":
        raise ParentError("the parent proxy is not 'http://HOST:PORT'; other schemes are not spoken")
    if parts.path not in ("", "/") or parts.query or parts.fragment or not url.isascii() or not url.isprintable():
        raise ParentError("the parent proxy is more than 'http://USER:PASSWORD@HOST:PORT'")
    if port == 0 or not (is_host_name(host) or _is_ipv4(host)):
        raise ParentError("the parent proxy has no host name or IPv4 address, or no port")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not _CREDENTIAL.fullmatch(user) or not _CREDENTIAL.fullmatch(password) or ":" in user:
        raise ParentError("the parent proxy's user or password has a character that HTTP cannot carry")
    if user.startswith(_NO_USER) or (password and not user):
        raise ParentError("the parent proxy has a password and no user, or a user that means something else to Squid")
    return Parent(host, DEFAULT_PORT if port is None else port, user, password)


class ParentDialer:
    """Connects through the parent proxy alone."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent

    def dial(self, host: str, port: int, *, seconds: float) -> Dialed:
        """A connection that the parent opened."""
        place = (self._parent.host, self._parent.port)
        found, head = open_tunnel(
            place, host, port, seconds=seconds, name="the parent proxy", head=self._parent.authorization
        )
        if (status := status_of(head)) == 200:
            return Dialed(found, via=VIA)
        found.close()
        raise refusal(host, status)


def refusal(host: str, status: int) -> DialError:
    """What a status of the parent's other than 200 means."""
    if status == 407:
        return DialError(UNREACHABLE, "the parent proxy wants another user or password", status=502)
    return DialError(UNREACHABLE, f"the parent proxy does not lead to {host!r}: it answered {status}", status=502)


def open_tunnel(
    place: tuple[str, int], host: str, port: int, *, seconds: float, name: str, head: bytes = b""
) -> tuple[socket.socket, bytes]:
    """A connection to a proxy that was asked for the host, and the head of its reply; what follows is the host's.

    Args:
        place: Where the proxy is.
        host: Host name in its one spelling.
        port: The host's.
        seconds: Time for all of it.
        name: What the proxy is called in errors.
        head: Further header lines.

    Raises:
        DialError: The proxy does not answer.
    """
    deadline = monotonic() + seconds
    try:
        found = socket.create_connection(place, timeout=seconds)
        try:
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n".encode() + head + b"\r\n")
            return found, _read_head(found, deadline, name)
        except BaseException:
            found.close()
            raise
    except OSError:
        raise DialError(UNREACHABLE, f"{name} does not answer", status=502) from None


def status_of(head: bytes) -> int:
    """The status of a reply's head; 0 for none."""
    match = re.match(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r\n)", head)
    return int(match[1]) if match else 0


def _read_head(source: socket.socket, deadline: float, name: str) -> bytes:
    """The head of the reply and nothing after it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        source.settimeout(max(deadline - monotonic(), 0.001))
        seen = source.recv(_REPLY_BYTES, socket.MSG_PEEK)
        if not seen or len(head) > _REPLY_BYTES:
            raise DialError(UNREACHABLE, f"{name} closed the connection", status=502)
        end = (head + seen).find(b"\r\n\r\n")
        wanted = len(seen) if end < 0 else end + 4 - len(head)
        head += source.recv(wanted)
    return head


def _is_ipv4(host: str) -> bool:
    return _IPV4.fullmatch(host) is not None and all(int(part) < 256 for part in host.split("."))
