"""How bytes get from one socket to another: through a pipe in the kernel where it can, else through a buffer."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Protocol

#: Bytes moved at once, and what a pipe is made to hold where the kernel lets us.
CHUNK_BYTES = 256 * 1024
_POOL = 64


class Carrier(Protocol):
    """Holds what was taken and not yet given.

    Attributes:
        held: Bytes held.
    """

    held: int

    def take(self, source: socket.socket, limit: int) -> int:
        """Bytes that were taken, 0 at the end of the stream. Only for an empty carrier.

        Raises:
            BlockingIOError: There is nothing to take now.
        """

    def give(self, sink: socket.socket) -> None:
        """Some of what is held is given.

        Raises:
            BlockingIOError: Nothing can be given now.
        """

    def release(self) -> None:
        """What an idle carrier keeps is given back; nothing may be held, or it is lost."""


class Copier:
    """Carries in a buffer of its own."""

    __slots__ = ("_buffer", "held")

    def __init__(self) -> None:
        self._buffer = memoryview(b"")
        self.held = 0

    def take(self, source: socket.socket, limit: int) -> int:
        """Bytes that were taken, up to a chunk."""
        self._buffer = memoryview(source.recv(min(limit, CHUNK_BYTES)))
        self.held = len(self._buffer)
        return self.held

    def give(self, sink: socket.socket) -> None:
        """Some of what is held is given."""
        self._buffer = self._buffer[sink.send(self._buffer) :]
        self.held = len(self._buffer)

    def release(self) -> None:
        """Nothing is held."""
        self._buffer = memoryview(b"")
        self.held = 0


class Pipes:
    """Empty pipes that wait to be used again, so that an idle tunnel holds none. For one thread."""

    def __init__(self) -> None:
        self._idle: list[tuple[int, int]] = []

    def get(self) -> tuple[int, int]:
        """An empty pipe, its reading end first."""
        return self._idle.pop() if self._idle else _pipe()

    def put(self, pipe: tuple[int, int], *, empty: bool) -> None:
        """The pipe is kept, or closed if it is not empty or enough are kept."""
        if empty and len(self._idle) < _POOL:
            self._idle.append(pipe)
        else:
            _close(pipe)

    def close(self) -> None:
        """No pipe is kept."""
        while self._idle:
            _close(self._idle.pop())


def _pipe() -> tuple[int, int]:
    """As wide as a chunk, or as wide as it comes: all pipes of an ordinary user share one bound."""
    import fcntl  # splice is Linux's, and so is this

    pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    return pipe


def _close(pipe: tuple[int, int]) -> None:
    for end in pipe:
        os.close(end)


#: Not on every system; where they lack, `carriers` copies.
_FLAGS = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)


class Splicer:
    """Carries inside the kernel; the bytes are never copied into this process."""

    __slots__ = ("_pipe", "_pipes", "held")

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._pipe: tuple[int, int] | None = None
        self.held = 0

    def take(self, source: socket.socket, limit: int) -> int:
        """Bytes that were taken, up to a chunk."""
        if self._pipe is None:
            self._pipe = self._pipes.get()
        self.held = os.splice(source.fileno(), self._pipe[1], min(limit, CHUNK_BYTES), flags=_FLAGS)
        return self.held

    def give(self, sink: socket.socket) -> None:
        """Some of what is held is given."""
        if self._pipe is not None:
            self.held -= os.splice(self._pipe[0], sink.fileno(), self.held, flags=_FLAGS)

    def release(self) -> None:
        """The pipe is another tunnel's."""
        if self._pipe is not None:
            self._pipes.put(self._pipe, empty=self.held == 0)
            self._pipe = None
        self.held = 0


def carriers(pipes: Pipes) -> tuple[Carrier, Carrier]:
    """One carrier for each direction of a tunnel, of the best kind that this system has."""
    if hasattr(os, "splice"):
        return Splicer(pipes), Splicer(pipes)
    return Copier(), Copier()
