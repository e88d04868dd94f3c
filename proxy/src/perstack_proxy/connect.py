"""The one request that the gate understands: ``CONNECT host:port``, in one spelling.

Everything that two parsers could read differently is refused: another method or version, a target that is not a host
name and a port, a folded or doubled header, a bare line feed, a body. Nothing is repaired.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from perstack_proxy.limits import CONNECT_HEAD_BYTES, CONNECT_HEADERS
from perstack_proxy.patterns import normalise

_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t\x80-\xff]*)")
_BARE_FEED = re.compile(rb"(?<!\r)\n")
_AUTHORITY = re.compile(r"([A-Za-z0-9.-]{1,254}):([1-9][0-9]{0,4})")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: Python before 3.12 speaks 1.0 to proxies. Nothing of either version is used beyond the first answer.
_VERSIONS = (b"1.1", b"1.0")

METHOD = "method"
SYNTAX = "syntax"
TARGET = "target"
ADDRESS_LITERAL = "address-literal"
TOO_LARGE = "too-large"


class ConnectError(ValueError):
    """A request that is refused.

    Attributes:
        code: `METHOD`, `SYNTAX`, `TARGET`, `ADDRESS_LITERAL` or `TOO_LARGE`.
        status: The HTTP status to answer with.
    """

    def __init__(self, code: str, reason: str, *, status: int = 400) -> None:
        super().__init__(reason)
        self.code = code
        self.status = status


class Connect(NamedTuple):
    """What a client asks for.

    Attributes:
        host: Host name in its one spelling: lower case, no trailing dot.
        port: 1 to 65535.
        length: Bytes of the request; what follows them belongs to the tunnel.
    """

    host: str
    port: int
    length: int


def read_connect(data: bytes | bytearray) -> Connect | None:
    """The request at the start of `data`, or None while its end has not arrived.

    Raises:
        ConnectError: It can no longer become an acceptable request.
    """
    end = data.find(b"\r\n\r\n", 0, CONNECT_HEAD_BYTES)
    _refuse_early(data if end < 0 else data[:end])
    if end < 0:
        if len(data) >= CONNECT_HEAD_BYTES:
            raise ConnectError(TOO_LARGE, f"the request is longer than {CONNECT_HEAD_BYTES} bytes", status=431)
        return None
    request, *fields = bytes(data[:end]).split(b"\r\n")
    method, target = _request_line(request)
    if method != b"CONNECT":
        raise ConnectError(METHOD, f"the method is {method.decode()[:20]!r}; only CONNECT is answered", status=403)
    host, port = read_authority(target)
    _check_fields(fields, host, port)
    return Connect(host, port, end + 4)


def read_authority(target: str) -> tuple[str, int]:
    """Host and port of ``host:port``, the host in its one spelling.

    Raises:
        ConnectError: The text is anything else.
    """
    match = _AUTHORITY.fullmatch(target)
    if match is None:
        bare = target.rpartition(":")[0]
        if bare.startswith("[") or bare.count(":") > 1:
            raise ConnectError(ADDRESS_LITERAL, "the target is an address; name a host", status=403)
        raise ConnectError(TARGET, "the target is not 'host:port' with a plain host name")
    host, port = normalise(match[1]), int(match[2])
    if not is_host_name(host):
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            raise ConnectError(ADDRESS_LITERAL, "the target is an address; name a host", status=403)
        raise ConnectError(TARGET, "the target is not 'host:port' with a plain host name")
    if port > 65535:
        raise ConnectError(TARGET, "the port is above 65535")
    return host, port


def is_host_name(host: str) -> bool:
    """Whether the text is a host name in its one spelling, and no spelling of an IPv4 address."""
    labels = host.split(".")
    return len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and not _NUMBER.fullmatch(labels[-1])


def _refuse_early(data: bytes | bytearray) -> None:
    """What cannot become a request is refused at its first bytes, so that nobody waits for an answer."""
    if data and not data[:1].isalpha():
        raise ConnectError(SYNTAX, "the first bytes are not an HTTP request")
    if _BARE_FEED.search(data, 0, CONNECT_HEAD_BYTES):
        raise ConnectError(SYNTAX, "a line ends without a carriage return")


def _request_line(line: bytes) -> tuple[bytes, str]:
    match = _REQUEST.fullmatch(line)
    if match is None:
        raise ConnectError(SYNTAX, "the first line is not 'CONNECT host:port HTTP/1.1'")
    if match[3] not in _VERSIONS:
        raise ConnectError(SYNTAX, "the HTTP version is neither 1.1 nor 1.0", status=505)
    return match[1], match[2].decode("ascii")


def _check_fields(fields: list[bytes], host: str, port: int) -> None:
    if len(fields) > CONNECT_HEADERS:
        raise ConnectError(TOO_LARGE, f"there are more than {CONNECT_HEADERS} header lines", status=431)
    hosts = 0
    for line in fields:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise ConnectError(SYNTAX, "a header line is folded or malformed")
        name, value = match[1].lower(), match[2].strip(b" \t").lower()
        if name == b"host":
            hosts += 1
            named = normalise(value.decode("latin-1").removesuffix(f":{port}"))
            if hosts > 1 or named != host:
                raise ConnectError(SYNTAX, "the Host header is doubled or names another host")
        elif name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            raise ConnectError(SYNTAX, "the request has a body")
