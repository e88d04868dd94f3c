"""ClientHellos: of a real TLS client, and made by hand where no client would send them."""

from __future__ import annotations

import ssl
import struct


def real_hello(name: str | None) -> bytes:
    """What OpenSSL sends first, with this server name."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs a server")


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">H", kind) + vector(2, data)


def names(*hosts: bytes, kind: int = 0) -> bytes:
    """A server_name extension."""
    return extension(0, vector(2, b"".join(bytes((kind,)) + vector(2, host) for host in hosts)))


def message(extensions: bytes, *, version: int = 0x0303, session: bytes = b"", suites: bytes = b"\x13\x01") -> bytes:
    """A ClientHello without its record."""
    body = struct.pack(">H", version) + bytes(32) + vector(1, session) + vector(2, suites) + vector(1, b"\0")
    return b"\x01" + vector(3, body + vector(2, extensions))


def records(data: bytes, size: int = 2**14) -> bytes:
    """The message cut into records of at most `size` bytes."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"\x16\x03\x01" + vector(2, piece) for piece in pieces)


def hello(extensions: bytes, *, size: int = 2**14) -> bytes:
    return records(message(extensions), size)
