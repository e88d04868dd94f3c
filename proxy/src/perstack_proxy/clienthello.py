"""The first message of a TLS client, read however it is cut into records and segments.

`HelloReader` holds back what a client sends until its ClientHello is whole. The hello must name one server in the clear
(RFC 6066), and must not carry an encrypted hello: what the gate cannot read, it cannot compare. Browsers that send a
random filler in place of an encrypted hello look the same and are refused too.
"""

from __future__ import annotations

from typing import NamedTuple

from perstack_proxy.connect import is_host_name
from perstack_proxy.limits import CLIENT_HELLO_BYTES
from perstack_proxy.patterns import normalise

HANDSHAKE = 22
CLIENT_HELLO = 1
SERVER_HELLO = 2
#: The record before a second hello, which means nothing and is there for old devices in between.
CHANGE_CIPHER_SPEC = b"\x14\x03\x03\x00\x01\x01"
#: The random of a ServerHello that asks for another ClientHello (RFC 8446, section 4.1.3).
ASKS_AGAIN = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

RECORD_BYTES = 2**14
#: encrypted_client_hello, ech_outer_extensions, and the drafts' encrypted_server_name.
HIDING_EXTENSIONS = frozenset({0xFE0D, 0xFD00, 0xFFCE})

NOT_TLS = "not-tls"
NO_NAME = "no-server-name"
HIDDEN_NAME = "hidden-server-name"
OTHER_NAME = "other-server-name"

#: TLS alert descriptions (RFC 8446, section 6).
UNEXPECTED_MESSAGE = 10
ACCESS_DENIED = 49
UNRECOGNIZED_NAME = 112


class HelloError(ValueError):
    """A beginning that no allowed tunnel has.

    Attributes:
        code: `NOT_TLS`, `NO_NAME`, `HIDDEN_NAME` or `OTHER_NAME`.
        alert: Description of the TLS alert to answer with.
    """

    def __init__(self, code: str, reason: str, *, alert: int = UNEXPECTED_MESSAGE) -> None:
        super().__init__(reason)
        self.code = code
        self.alert = alert


class Hello(NamedTuple):
    """What the gate wants to know of a ClientHello.

    Attributes:
        server_name: Its one spelling: lower case, no trailing dot.
    """

    server_name: str


def alert(description: int) -> bytes:
    """A fatal TLS alert, in a record that every version understands."""
    return bytes((21, 3, 3, 0, 2, 2, description))


def asks_again(answer: bytes) -> bool | None:
    """Whether a server's answer asks for another hello, which could name another server; None until it can be told.

    Raises:
        HelloError: It is cut so that it cannot be told.
    """
    record = answer[:6]
    if record[:1] != bytes((HANDSHAKE,)) or record[5:] not in (b"", bytes((SERVER_HELLO,))):
        return False if record else None
    start, end = 11, 11 + len(ASKS_AGAIN)  # after the headers of record and message, and the version
    if len(record) >= 5 and int.from_bytes(record[3:5], "big") < end - 5:
        raise HelloError(NOT_TLS, "the server's answer is cut into pieces")
    return answer[start:end] == ASKS_AGAIN if len(answer) >= end else None


class HelloReader:
    """Bytes in, a `Hello` out.

    Args:
        again: It is a second hello, before which a `CHANGE_CIPHER_SPEC` may stand.

    Attributes:
        data: Everything that was fed, to be sent on when the hello is accepted.
    """

    __slots__ = ("_again", "_at", "_message", "data")

    def __init__(self, *, again: bool = False) -> None:
        self._again = again
        self.data = bytearray()
        self._message = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> Hello | None:
        """The hello, or None while it is not whole.

        Raises:
            HelloError: These bytes are not the beginning of an acceptable hello.
        """
        self.data += data
        if self._again and CHANGE_CIPHER_SPEC.startswith(self.data[:6]):
            if len(self.data) < len(CHANGE_CIPHER_SPEC):
                return None
            self._at, self._again = len(CHANGE_CIPHER_SPEC), False
        while (record := self._record()) is not None:
            self._message += record
            if self._message[0] != CLIENT_HELLO:
                raise HelloError(NOT_TLS, "the first TLS message is not a ClientHello")
            if len(self._message) < 4:
                continue
            length = int.from_bytes(self._message[1:4], "big")
            if length > CLIENT_HELLO_BYTES:
                raise HelloError(NOT_TLS, f"the ClientHello is longer than {CLIENT_HELLO_BYTES} bytes")
            if len(self._message) > 4 + length:
                raise HelloError(NOT_TLS, "something follows the ClientHello in its record")
            if len(self._message) == 4 + length:
                return _hello(bytes(self._message[4:]))
        if len(self.data) > 2 * CLIENT_HELLO_BYTES:  # as empty as records may be cut
            raise HelloError(NOT_TLS, "the ClientHello is cut into too many records")
        return None

    def _record(self) -> bytes | None:
        """The payload of the next whole record; a bad header is an error as soon as it is seen."""
        header = self.data[self._at : self._at + 5]
        expected = bytes((HANDSHAKE, 3))
        if not expected.startswith(header[:2]) or (len(header) > 2 and header[2] > 4):
            raise HelloError(NOT_TLS, "the tunnel does not begin with a TLS handshake")
        if len(header) < 5:
            return None
        length = int.from_bytes(header[3:], "big")
        if not 0 < length <= RECORD_BYTES:
            raise HelloError(NOT_TLS, "a TLS record has a length that is not allowed")
        end = self._at + 5 + length
        if len(self.data) < end:
            return None
        payload = bytes(self.data[self._at + 5 : end])
        self._at = end
        return payload


class _Fields:
    """Length-prefixed fields of a message, each read whole or not at all."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise HelloError(NOT_TLS, "the ClientHello is cut inside a field")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))

    def end(self) -> bool:
        return self._at == len(self._data)


def _hello(body: bytes) -> Hello:
    fields = _Fields(body)
    if fields.number(2) >> 8 != 3:
        raise HelloError(NOT_TLS, "the ClientHello has an unknown version")
    fields.take(32)
    if len(fields.vector(1)) > 32:
        raise HelloError(NOT_TLS, "the session id is longer than 32 bytes")
    suites, compressions = fields.vector(2), fields.vector(1)
    if len(suites) < 2 or len(suites) % 2 or not compressions:
        raise HelloError(NOT_TLS, "the ClientHello offers no cipher suite")
    extensions = _extensions(fields)
    if HIDING_EXTENSIONS & extensions.keys():
        raise HelloError(HIDDEN_NAME, "the ClientHello has an encrypted part", alert=ACCESS_DENIED)
    if 0 not in extensions:
        raise HelloError(NO_NAME, "the ClientHello names no server", alert=UNRECOGNIZED_NAME)
    return Hello(_server_name(extensions[0]))


def _extensions(fields: _Fields) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    if fields.end():
        return found
    inner = _Fields(fields.vector(2))
    if not fields.end():
        raise HelloError(NOT_TLS, "something follows the extensions")
    while not inner.end():
        kind, value = inner.number(2), inner.vector(2)
        if kind in found:
            raise HelloError(NOT_TLS, "an extension is there twice")
        found[kind] = value
    return found


def _server_name(extension: bytes) -> str:
    outer = _Fields(extension)
    names = _Fields(outer.vector(2))
    kind, name = names.number(1), names.vector(2)
    if kind != 0 or not names.end() or not outer.end():
        raise HelloError(NO_NAME, "the ClientHello does not name exactly one server", alert=UNRECOGNIZED_NAME)
    host = normalise(name.decode("latin-1"))
    if not is_host_name(host):
        raise HelloError(NO_NAME, "the server name is not a host name", alert=UNRECOGNIZED_NAME)
    return host
