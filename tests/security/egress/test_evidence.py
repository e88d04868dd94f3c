"""The fake internet's own word: what it does not have on record did not happen."""

from __future__ import annotations

import contextlib
import socket
import struct

from perstack.testing.fnet.internet import Internet

ADDRESS = "93.184.216.34"


def test_a_connection_is_evidence_as_soon_as_it_is_made_and_its_own_knocks_are_none(internet: Internet):
    internet.forget()
    assert internet.arrivals == []

    def many() -> None:
        for _ in range(300):
            socket.create_connection((ADDRESS, 443), timeout=10).close()

    internet.namespace.inside(many)
    assert [arrival.address for arrival in internet.arrivals] == [ADDRESS] * 300
    internet.forget()
    assert internet.arrivals == []


def test_a_question_is_evidence_as_soon_as_it_is_asked(internet: Internet):
    internet.forget()

    def many() -> None:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            for number in range(100):
                label = f"q{number}".encode()
                name = bytes((len(label),)) + label + b"\x04test\0"
                client.sendto(struct.pack(">HHHHHH", number, 256, 1, 0, 0, 0) + name + b"\0\1\0\1", ("127.0.0.1", 53))

    internet.namespace.inside(many)
    assert internet.asked() == {f"q{number}.test" for number in range(100)}
