"""An authoritative name server that remembers every question."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

A, PTR, AAAA = 1, 12, 28
_TYPES = {A: "A", PTR: "PTR", AAAA: "AAAA"}
#: The fake internet's own question; it is not part of the evidence.
KNOCK = "knock.fnet.invalid"
SETTLE_SECONDS = 20.0
_ANSWER = 0x8400
_NO_SUCH_NAME = 3

Addresses = Sequence[str] | Callable[[], Sequence[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """One question, its name in lower case without the final dot."""

    name: str
    type: str


class NameServer:
    """Answers from `zone`, and keeps `queries`.

    Attributes:
        zone: Addresses by name, or by `*.` and a name; a callable is asked each time.
        pointers: Names by address, for reverse lookups.
        queries: Every question, in order.
    """

    def __init__(self, listening: socket.socket) -> None:
        self.zone: dict[str, Addresses] = {}
        self.pointers: dict[str, str] = {}
        self.queries: list[Query] = []
        self._socket = listening
        self._place = listening.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """No question is answered any more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def knock(self) -> None:
        """What was asked before is on record, because this question is answered after it. From where the server is."""
        question = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + _write_name(KNOCK) + struct.pack(">HH", A, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(SETTLE_SECONDS)
            client.sendto(question, self._place)
            client.recv(4096)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = self._socket.recvfrom(4096)
                with contextlib.suppress(IndexError, struct.error, UnicodeDecodeError):
                    self._socket.sendto(self._reply(data), peer)

    def _reply(self, data: bytes) -> bytes:
        name, end = _read_name(data, 12)
        kind = int.from_bytes(data[end : end + 2], "big")
        self.queries.append(Query(name=name, type=_TYPES.get(kind, str(kind))))
        known, answers = self._answers(name, kind)
        flags = _ANSWER if known else _ANSWER | _NO_SUCH_NAME
        head = data[:2] + struct.pack(">HHHHH", flags, 1, len(answers), 0, 0)
        # 0xC00C points at the question's name; a time to live of 0 lets the next answer differ.
        records = [struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(answer)) + answer for answer in answers]
        return head + data[12 : end + 4] + b"".join(records)

    def _answers(self, name: str, kind: int) -> tuple[bool, list[bytes]]:
        if name in self.pointers and kind == PTR:
            return True, [_write_name(self.pointers[name])]
        suffixes = [f"*.{name.split('.', count)[-1]}" for count in range(1, name.count(".") + 1)]
        found = next((self.zone[key] for key in [name, *suffixes] if key in self.zone), None)
        if found is None:
            return False, []
        addresses = [ip_address(text) for text in (found() if callable(found) else found)]
        version = {A: 4, AAAA: 6}.get(kind, 0)
        return True, [address.packed for address in addresses if address.version == version]


def reverse_name(address: str) -> str:
    """The name under which the owner of an address says what it is called."""
    return ip_address(address).reverse_pointer


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    labels = []
    while (length := data[at]) != 0:
        labels.append(data[at + 1 : at + 1 + length].decode("latin-1").lower())
        at += 1 + length
    return ".".join(labels), at + 1


def _write_name(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"
