"""The first moments of a tunnel, carried by the thread that opened it.

Most requests are over within milliseconds. Handing each of them to the loop would cost as much as carrying it.
"""

from __future__ import annotations

import select
import socket
from time import monotonic

from perstack_proxy.relay import CLOSED, FAILED, RESET, SPENT, Ended, Meter

OPEN = ""
#: A tunnel that lives longer is the loop's, which ends what is switched off, idle or too long.
LINGER_SECONDS = 0.05
#: A tunnel of more bytes is the loop's too, which carries them faster, and never waits for a side that takes none.
_MOST_BYTES = 64 * 1024
_CHUNK_BYTES = 16 * 1024


def linger(client: socket.socket, host: socket.socket, meter: Meter) -> Ended:
    """What passed, and how it ended; the reason is `OPEN` when it goes on, and then nothing is held back."""
    passed = {client: 0, host: 0}
    try:
        reason = _carry(client, host, meter, passed)
    except OSError as error:
        reason = RESET if isinstance(error, ConnectionError) else FAILED
    return Ended(reason, passed[client], passed[host])


def _carry(client: socket.socket, host: socket.socket, meter: Meter, passed: dict[socket.socket, int]) -> str:
    sides = {client.fileno(): (client, host), host.fileno(): (host, client)}
    deadline = monotonic() + LINGER_SECONDS
    poller = select.poll()
    for descriptor in sides:
        poller.register(descriptor, select.POLLIN)
    while sum(passed.values()) < _MOST_BYTES and (left := deadline - monotonic()) > 0:
        for descriptor, _ in poller.poll(1000 * left):
            source, sink = sides[descriptor]
            if (budget := meter.left(up=source is client)) <= 0:
                return SPENT
            data = source.recv(min(budget, _CHUNK_BYTES))
            if data:
                meter.spend(len(data), up=source is client)
                passed[source] += len(data)
                sink.sendall(data)
                continue
            poller.unregister(descriptor)
            del sides[descriptor]
            if not sides:
                return CLOSED
            sink.shutdown(socket.SHUT_WR)
    return OPEN
