"""How one turn goes out on a connection, faults included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from perstack.messages import JsonObject
from perstack.testing.model_server.gate import Gate
from perstack.testing.model_server.http import Connection, Gone
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.model_server.script import Cut, ErrorEvent, Raw, Refuse, Stall, Turn
from perstack.testing.model_server.wire import Wire

JSON = {"content-type": "application/json"}


async def answer(connection: Connection, wire: Wire, request: ModelRequest, turn: Turn) -> bool:
    """Send `turn`. Returns whether the connection can be used again.

    Raises:
        Gone: The client did not wait for the end.
    """
    fault = turn.fault
    if isinstance(fault, Refuse):
        body = encoded(wire.error(fault.status, fault.message))
        await connection.whole(fault.status, body, {**JSON, **fault.headers})
    elif isinstance(fault, Raw):
        await connection.whole(fault.status, fault.body, {"content-type": fault.content_type})
    elif wire.streams(request):
        return await _stream(connection, wire, request, turn)
    else:
        if isinstance(fault, Stall):
            await _wait(connection, fault.gate)
        await connection.whole(200, encoded(wire.whole(turn, request)), JSON)
    return True


def encoded(body: JsonObject) -> bytes:
    """A body as JSON."""
    return json.dumps(body, ensure_ascii=False).encode()


async def _stream(connection: Connection, wire: Wire, request: ModelRequest, turn: Turn) -> bool:
    fault = turn.fault
    if isinstance(fault, Stall) and fault.after is None:
        await _wait(connection, fault.gate)
    await connection.start(200, {"content-type": wire.content_type, "transfer-encoding": "chunked"})
    events: Iterable[bytes] = wire.events(turn, request)
    for count, event in enumerate(events):
        if isinstance(fault, Stall) and fault.after == count:
            await _wait(connection, fault.gate)
        if isinstance(fault, Cut) and fault.after == count:
            if fault.clean:
                await connection.chunk(b"")
            return fault.clean
        if isinstance(fault, ErrorEvent) and fault.after == count:
            await connection.chunk(wire.error_event(fault))
            break
        await connection.chunk(event)
    await connection.chunk(b"")
    return True


async def _wait(connection: Connection, gate: Gate) -> None:
    loop = asyncio.get_running_loop()
    opened = asyncio.Event()

    def open_here() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(opened.set)

    gate.arrive(open_here)
    waiters = [asyncio.ensure_future(opened.wait()), asyncio.ensure_future(connection.gone.wait())]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
    if connection.gone.is_set():
        raise Gone
