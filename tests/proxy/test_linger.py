"""The first moments of a tunnel: the same bytes, bounds and ends as later, on the thread that opened it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from perstack_proxy.linger import OPEN, linger
from perstack_proxy.relay import CLOSED, RESET, SPENT, Ended, Free, Meter


@dataclass
class Sides:
    """What a client and a host hold, and the gate's ends of it."""

    client: socket.socket
    client_end: socket.socket
    host: socket.socket
    host_end: socket.socket

    def carry(self, meter: Meter | None = None) -> Ended:
        return linger(self.client_end, self.host_end, meter or Free())


@pytest.fixture
def sides() -> Iterator[Sides]:
    with contextlib.ExitStack() as undo:
        pairs = [undo.enter_context(one) for _ in range(2) for one in socket.socketpair()]
        yield Sides(*pairs)


def test_a_short_tunnel_is_carried_to_its_end_where_it_began(sides: Sides):
    sides.client.sendall(b"question")
    sides.host.sendall(b"answer")
    sides.client.shutdown(socket.SHUT_WR)
    sides.host.shutdown(socket.SHUT_WR)
    assert sides.carry() == Ended(CLOSED, 8, 6)
    assert (sides.client.recv(99), sides.host.recv(99)) == (b"answer", b"question")


def test_a_quiet_tunnel_goes_on_elsewhere(sides: Sides):
    sides.client.sendall(b"question")
    assert sides.carry() == Ended(OPEN, 8, 0)


def test_a_tunnel_that_carries_much_goes_on_elsewhere_and_nothing_is_lost(sides: Sides):
    sides.client.sendall(bytes(120_000))
    passed = sides.carry()
    assert passed.reason == OPEN
    assert 64 * 1024 <= passed.up < 120_000
    assert len(sides.host.recv(200_000)) == passed.up


def test_nothing_passes_beyond_the_bytes_that_are_left(sides: Sides):
    class Nothing(Free):
        def left(self, *, up: bool) -> int:
            return 0 if up else 100

    sides.client.sendall(b"x")
    assert sides.carry(Nothing()) == Ended(SPENT, 0, 0)
    with pytest.raises(BlockingIOError):
        sides.host.recv(99, socket.MSG_DONTWAIT)


def test_a_side_that_is_gone_ends_it(sides: Sides):
    sides.host.close()
    sides.client.sendall(b"x")
    assert sides.carry().reason == RESET
