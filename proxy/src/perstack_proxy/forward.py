"""The forwarder inside a sandbox: a port on loopback that leads to one unix socket, and nowhere else.

It gives the port to the gate, which then accepts there itself. Where that cannot be, it carries every connection, and
reads nothing of it: the gate decides. One thread and no asyncio, because it starts with every skill.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from perstack_proxy.handover import connected, is_taken, offer

if TYPE_CHECKING:
    from perstack_proxy.relay import Relay

HOST = "127.0.0.1"
PORT = 3128

_BACKLOG = 128
#: Most connections at once. The gate's own bound for a skill is lower.
_CONNECTIONS = 1024
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Forwarder:
    """Listens from the moment that it is made, serves while it runs.

    Args:
        path: The unix socket of the gate.
        host: A loopback address.
        port: 0 picks a free one.

    Raises:
        OSError: The port cannot be had.
    """

    def __init__(self, path: str, *, host: str = HOST, port: int = PORT) -> None:
        self._path = path
        self._listening = socket.create_server((host, port), backlog=_BACKLOG)

    @property
    def port(self) -> int:
        """The port that is listened to."""
        return int(self._listening.getsockname()[1])

    def run(self, key: str = "") -> None:
        """Serve for ever. A gate that takes the port for this key leaves nothing to do as long as it lives."""
        gate = offer(self._listening, self._path, key) if key else None
        if gate is not None:
            with gate:
                if is_taken(gate):
                    gate.recv(1)
        self._carry()

    def close(self) -> None:
        """Nothing is held any more: the port is another process's, or nobody's."""
        self._listening.close()

    def _carry(self) -> None:
        from perstack_proxy.loop import READ, Loop
        from perstack_proxy.relay import Relay

        loop = Loop()
        relay = Relay(loop)
        self._listening.settimeout(0)
        loop.watch(self._listening, READ, lambda _: self._accept(relay))
        loop.run()

    def _accept(self, relay: Relay) -> None:
        # One at a time: whoever else waits makes the port ready again, and a second try that finds nobody is dear.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            client, _address = self._listening.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            gate = connected(self._path) if len(relay.tunnels) < _CONNECTIONS else None
            if gate is None:
                with client, contextlib.suppress(OSError):
                    client.send(_UNAVAILABLE)
            else:
                relay.add(client, gate)
