"""One thread that waits for many sockets. Standard library selectors, because asyncio takes 100 ms to import."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

_TICK_SECONDS = 0.5


class Loop:
    """Calls back when sockets are ready. Only `call` and `stop` may be used from other threads."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._calls: deque[Callable[[], None]] = deque()
        self._ticks: list[Callable[[float], None]] = []
        self._awake, self._waker = socket.socketpair()
        self._awake.settimeout(0)
        self._waker.settimeout(0)
        self._selector.register(self._awake, READ, self._drain)
        self._watched: set[int] = set()  # the selector's own answer to this is an exception that describes the socket
        self._stopped = False

    def call(self, function: Callable[[], None]) -> None:
        """The function runs on the loop's thread, soon."""
        self._calls.append(function)
        with contextlib.suppress(BlockingIOError, OSError):
            self._waker.send(b"\0")

    def stop(self) -> None:
        """`run` returns, soon."""
        self._stopped = True
        self.call(lambda: None)

    def run_calls(self) -> None:
        """Everything that was asked of `call` is done. On the loop's thread."""
        while self._calls:
            self._calls.popleft()()

    def close(self) -> None:
        """What the loop itself holds is given back. Not while it runs."""
        self._selector.close()
        self._awake.close()
        self._waker.close()

    def every_tick(self, function: Callable[[float], None]) -> None:
        """The function is called about twice a second with the monotonic time."""
        self._ticks.append(function)

    def watch(self, source: socket.socket, events: int, function: Callable[[int], None]) -> None:
        """From now on the function is called with the ready ones of `events`; none stops the watching."""
        descriptor = source.fileno()
        if descriptor not in self._watched:
            if events:
                self._watched.add(descriptor)
                self._selector.register(descriptor, events, function)
        elif events:
            self._selector.modify(descriptor, events, function)
        else:
            self._watched.discard(descriptor)
            self._selector.unregister(descriptor)

    def run(self) -> None:
        """Serve until `stop`."""
        next_tick = monotonic() + _TICK_SECONDS
        while not self._stopped:
            for key, events in self._selector.select(max(0.0, next_tick - monotonic())):
                key.data(events)
            self.run_calls()
            now = monotonic()
            if now >= next_tick:
                next_tick = now + _TICK_SECONDS
                for function in self._ticks:
                    function(now)

    def _drain(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._awake.recv(4096):
                pass
