"""The forwarder inside a sandbox: a port on loopback that leads to one unix socket, and nowhere else.

It reads nothing of what it carries: the gate decides. One thread and no asyncio, because it starts with every skill.
"""

from __future__ import annotations

import contextlib
import socket

from perstack_proxy.loop import READ, Loop
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
        self._loop = Loop()
        self._relay = Relay(self._loop)
        self._listening = socket.create_server((host, port), backlog=_BACKLOG)
        self._listening.settimeout(0)
        self._loop.watch(self._listening, READ, self._accept)

    @property
    def port(self) -> int:
        """The port that is listened to."""
        return int(self._listening.getsockname()[1])

    def run(self) -> None:
        """Serve until `stop`."""
        self._loop.run()
        self._listening.close()
        self._relay.end_all()
        self._loop.close()

    def stop(self) -> None:
        """`run` returns, soon. From any thread."""
        self._loop.stop()

    def _accept(self, _: int) -> None:
        # One at a time: whoever else waits makes the port ready again, and a second try that finds nobody is dear.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            client, _address = self._listening.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            gate = self._connect()
            if gate is None:
                with client, contextlib.suppress(OSError):
                    client.send(_UNAVAILABLE)
            else:
                self._relay.add(client, gate)

    def _connect(self) -> socket.socket | None:
        if len(self._relay.tunnels) >= _CONNECTIONS:
            return None
        gate = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        gate.settimeout(0)  # a gate that does not accept must not stop the others
        try:
            gate.connect(self._path)
        except OSError:
            gate.close()
            return None
        return gate
