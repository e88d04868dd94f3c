"""Tunnels: bytes carried both ways between two connected sockets, counted, bounded and ended in time.

A tunnel reads from one side only as fast as the other takes it. It ends when both sides have ended, when either fails,
when it is silent or open for too long, or when nothing is left of its bytes.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic
from typing import NamedTuple, Protocol

from perstack_proxy.carriers import CHUNK_BYTES, Carrier, Pipes, carriers
from perstack_proxy.loop import READ, WRITE, Loop

CLOSED = "closed"
RESET = "reset"
FAILED = "failed"
IDLE = "idle"
TOO_LONG = "too-long"
SPENT = "bytes"
STOPPED = "stopped"

#: Chunks that one direction carries before the others get their turn.
_TURN = 4
_UNBOUNDED = 2**62


class Meter(Protocol):
    """What bounds the bytes of a tunnel."""

    def left(self, *, up: bool) -> int:
        """How many more bytes may pass in this direction."""

    def spend(self, count: int, *, up: bool) -> None:
        """So many bytes have been taken to pass."""


class Free:
    """A meter without a bound."""

    def left(self, *, up: bool) -> int:  # noqa: ARG002 - the same in both directions
        """More than can pass."""
        return _UNBOUNDED

    def spend(self, count: int, *, up: bool) -> None:
        """Nothing is counted."""


class Bounds(NamedTuple):
    """What ends a tunnel that its two sides do not end.

    Attributes:
        meter: Bounds its bytes.
        idle_seconds: Longest silence.
        tunnel_seconds: Longest life.
    """

    meter: Meter = Free()
    idle_seconds: float = inf
    tunnel_seconds: float = inf


class Ended(NamedTuple):
    """How a tunnel ended.

    Attributes:
        reason: `CLOSED`, `RESET`, `FAILED`, `IDLE`, `TOO_LONG`, `SPENT`, `STOPPED`, or what `end` was called with.
        up: Bytes towards the host.
        down: Bytes from the host.
    """

    reason: str
    up: int
    down: int


class _Flow:
    """One direction."""

    __slots__ = ("carrier", "count", "done", "ended", "ready", "sink", "source", "up", "watched")

    def __init__(self, source: socket.socket, sink: socket.socket, carrier: Carrier, *, up: bool) -> None:
        self.source = source
        self.sink = sink
        self.carrier = carrier
        self.up = up
        self.count = 0
        self.ended = False  # the source has sent its last byte
        self.done = False  # and the sink has it
        self.watched = 0  # the events that the source is watched for
        self.ready: Callable[[int], None] = lambda _: None  # what they call


class Tunnel:
    """Two sockets and what passes between them. Everything happens on the relay's thread."""

    def __init__(
        self,
        relay: Relay,
        client: socket.socket,
        host: socket.socket,
        *,
        bounds: Bounds,
        on_end: Callable[[Ended], None],
    ) -> None:
        self.bounds = bounds
        self.opened = self.active = monotonic()
        self._relay = relay
        self._on_end = on_end
        up, down = carriers(relay.pipes)
        self._up = _Flow(client, host, up, up=True)
        self._down = _Flow(host, client, down, up=False)
        for flow, other in ((self._up, self._down), (self._down, self._up)):
            flow.source.settimeout(0)
            flow.ready = partial(self._ready, flow, other)

    def start(self) -> None:
        """Bytes flow from now on."""
        self._wait()

    def end(self, reason: str) -> None:
        """Both sockets are closed and the end is told, once."""
        if self not in self._relay.tunnels:
            return
        self._relay.tunnels.discard(self)
        for flow in (self._up, self._down):
            self._relay.loop.watch(flow.source, 0, flow.ready)
            flow.carrier.release()
        self._up.source.close()
        self._down.source.close()
        self._on_end(Ended(reason, self._up.count, self._down.count))

    def _ready(self, reading: _Flow, writing: _Flow, events: int) -> None:
        """A socket is ready: the source of one flow, and the sink of the other."""
        spent = False
        try:
            if events & READ and not reading.ended:
                spent = self._carry(reading)
            if events & WRITE and not spent:
                spent = self._carry(writing)
        except OSError as error:
            self.end(RESET if isinstance(error, ConnectionError) else FAILED)
            return
        if spent:
            self.end(SPENT)
        elif self._up.done and self._down.done:
            self.end(CLOSED)
        else:
            self._wait()

    def _carry(self, flow: _Flow) -> bool:
        """As much has passed as both sides allow, up to a turn. Whether the bytes are spent."""
        carrier, meter, last = flow.carrier, self.bounds.meter, False
        with contextlib.suppress(BlockingIOError):
            for _ in range(_TURN):
                while carrier.held:
                    carrier.give(flow.sink)
                if flow.ended or last:
                    break
                left = meter.left(up=flow.up)
                if left <= 0:
                    return True
                count = carrier.take(flow.source, left)
                flow.ended = count == 0
                flow.count += count
                meter.spend(count, up=flow.up)
                self.active = monotonic()
                last = count < CHUNK_BYTES  # all that there was; the loop says when there is more
        if not carrier.held:
            carrier.release()
            if flow.ended and not flow.done:
                flow.done = True
                if not (self._up.done and self._down.done):  # else both sockets are closed next
                    flow.sink.shutdown(socket.SHUT_WR)
        return False

    def _wait(self) -> None:
        """Each socket is watched for what can go on: reading when nothing is held back, writing when something is."""
        for flow, other in ((self._up, self._down), (self._down, self._up)):
            events = 0 if flow.ended or flow.carrier.held else READ
            events |= WRITE if other.carrier.held else 0
            if events != flow.watched:
                flow.watched = events
                self._relay.loop.watch(flow.source, events, flow.ready)


class Relay:
    """All tunnels of one loop. Only for the loop's thread."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.pipes = Pipes()
        self.tunnels: set[Tunnel] = set()
        loop.every_tick(self._end_what_is_over)

    def add(
        self,
        client: socket.socket,
        host: socket.socket,
        *,
        bounds: Bounds = Bounds(),  # noqa: B008 - a value
        on_end: Callable[[Ended], None] = lambda _: None,
    ) -> Tunnel:
        """A tunnel that carries from now on, until it ends and `on_end` is told how."""
        tunnel = Tunnel(self, client, host, bounds=bounds, on_end=on_end)
        self.tunnels.add(tunnel)
        tunnel.start()
        return tunnel

    def end_all(self, reason: str = STOPPED) -> None:
        """No tunnel is open any more."""
        for tunnel in list(self.tunnels):
            tunnel.end(reason)
        self.pipes.close()

    def _end_what_is_over(self, now: float) -> None:
        for tunnel in list(self.tunnels):
            if now - tunnel.active > tunnel.bounds.idle_seconds:
                tunnel.end(IDLE)
            elif now - tunnel.opened > tunnel.bounds.tunnel_seconds:
                tunnel.end(TOO_LONG)
