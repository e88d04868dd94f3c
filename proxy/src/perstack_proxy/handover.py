"""A sandbox's port given to the gate, so that nothing stands between its clients and the gate.

It is given once, through the gate's socket, by whoever knows a key that no skill knows. What is given is a listening
socket and never a connection: a connection belongs to whoever accepts it, so no skill holds one that the gate waits
for or closes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import sys
from collections.abc import Callable
from time import monotonic, sleep

KEY_BYTES = 32
"""Of a key, in hexadecimal digits."""

_OFFER = b"\0"  # before the key; no request begins like this
_TAKEN = b"\1"
#: The offer follows the connection at once.
_OFFER_SECONDS = 1.0
_DESCRIPTOR_BYTES = 4
_GATE_SECONDS = 15.0
_PAUSE_SECONDS = 0.02
_SO_TIMESTAMPING, _IP_RECVERR = 37, 11  # Linux; the `socket` module has no names for them
#: A connection has the options of its listening socket. None of these may make the gate wait for a close, or wake it.
_PLAIN = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_LINGER, bytes(8)),
    (socket.SOL_SOCKET, _SO_TIMESTAMPING, 0),
    (socket.IPPROTO_IP, _IP_RECVERR, 0),
)


def connected(path: str) -> socket.socket | None:
    """A connection to the gate at this path, or None at once: a gate that does not accept must not stop others."""
    gate = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    gate.settimeout(0)
    try:
        gate.connect(path)
    except OSError:
        gate.close()
        return None
    return gate


def offer(port: socket.socket, path: str, key: str) -> socket.socket | None:
    """The port is offered to the gate at this path; the connection that brings the answer, or None if there is none.

    The gate may still be on its way up.
    """
    deadline = monotonic() + _GATE_SECONDS
    while (gate := connected(path)) is None:
        if monotonic() > deadline:
            return None
        sleep(_PAUSE_SECONDS)
    try:
        socket.send_fds(gate, [_OFFER + key.encode()], [port.fileno()])
    except OSError:
        gate.close()
        return None
    gate.settimeout(None)
    return gate


def is_taken(gate: socket.socket) -> bool:
    """Whether the gate has taken the port. It keeps it until the connection ends."""
    with contextlib.suppress(OSError):
        return gate.recv(1) == _TAKEN
    return False


class NoPort(Exception):
    """An offer without a port that can be taken."""


def receive(client: socket.socket, key: str) -> socket.socket | None:
    """The port that a client offers. None if it offers none; everything that it sent is then still to be read.

    Raises:
        NoPort: It knows the key, and no port came with it.
    """
    from hmac import compare_digest

    client.settimeout(_OFFER_SECONDS)
    try:
        with contextlib.ExitStack() as undo:
            data, ports, whole = _look(client)
            for port in ports:
                undo.enter_context(port)
            if not compare_digest(data, _OFFER + key.encode()):
                return None
            if len(ports) != 1 or not whole or not _listens_on_loopback(ports[0]):
                raise NoPort
            client.recv(len(data))
            client.send(_TAKEN)
            ports[0].settimeout(0)
            undo.pop_all()
            return ports[0]
    except OSError:
        return None
    finally:
        client.settimeout(None)


def _look(client: socket.socket) -> tuple[bytes, list[socket.socket], bool]:
    """The next bytes, which stay, the sockets that came with it, and whether nothing else came."""
    space, peek = socket.CMSG_LEN(_DESCRIPTOR_BYTES), socket.MSG_PEEK | socket.MSG_CMSG_CLOEXEC
    data, ancillary, flags, _ = client.recvmsg(len(_OFFER) + KEY_BYTES, space, peek)
    found, whole = [], not flags & socket.MSG_CTRUNC
    for level, kind, content in ancillary:
        if (level, kind) != (socket.SOL_SOCKET, socket.SCM_RIGHTS) or len(content) != _DESCRIPTOR_BYTES:
            continue
        descriptor = int.from_bytes(content, sys.byteorder)
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            # Of this family and type as far as Python is concerned; what it really is, the kernel is asked.
            found.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=descriptor))
        else:
            os.close(descriptor)
    return data, found, whole


def _listens_on_loopback(port: socket.socket) -> bool:
    def option(name: int) -> int:
        return port.getsockopt(socket.SOL_SOCKET, name)

    kind = (option(socket.SO_DOMAIN), option(socket.SO_TYPE), option(socket.SO_PROTOCOL))
    if kind != (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) or not option(socket.SO_ACCEPTCONN):
        return False
    return str(port.getsockname()[0]).startswith("127.")


def accept_at(port: socket.socket, owner: socket.socket, admit: Callable[[socket.socket], None]) -> None:
    """Every connection to the port is admitted, until its owner has gone or it is shut down.

    For a thread of its own: whoever else holds the port can make an `accept` wait.
    """
    waiting = select.poll()
    waiting.register(port, select.POLLIN)
    waiting.register(owner, select.POLLIN)
    with port:
        while all(descriptor != owner.fileno() for descriptor, _ in waiting.poll()):
            try:
                client, _ = port.accept()
            except OSError as error:
                if error.errno == errno.EINVAL:  # shut down
                    return
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    sleep(_PAUSE_SECONDS)
                continue
            client.settimeout(None)
            for level, option, value in _PLAIN:
                client.setsockopt(level, option, value)
            admit(client)
