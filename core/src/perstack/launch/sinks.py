"""Plugins' receivers of events: behind bounded queues, so that none can hold up or break a run."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from perstack.events import Event
from perstack.specs import EventSinkSpec

QUEUE = 1000
"""Events that wait for a slow sink; further ones are lost to it, and counted."""

FLUSH_SECONDS = 2.0
"""How long a run that has ended waits for its sinks."""

log = logging.getLogger(__name__)


class _Sink:
    def __init__(self, spec: EventSinkSpec) -> None:
        self._spec = spec
        self._send, self._receive = anyio.create_memory_object_stream[bytes](QUEUE)
        self._lost = 0

    def offer(self, _event: Event, data: bytes) -> None:
        try:
            self._send.send_nowait(data)
        except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._lost += 1

    async def drain(self) -> None:
        failures = 0
        try:
            sink = self._spec.factory()
            async with self._receive:
                async for data in self._receive:
                    try:
                        await sink.emit(data)
                    except Exception:  # noqa: BLE001 - an observer never breaks what it observes
                        failures += 1
            await sink.aclose()
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("Event sink %r failed: %s: %s", self._spec.name, type(error).__name__, error)
        if failures or self._lost:
            log.warning("Event sink %r failed on %d events and lost %d.", self._spec.name, failures, self._lost)

    def close(self) -> None:
        self._send.close()


@asynccontextmanager
async def event_sinks(specs: Sequence[EventSinkSpec]) -> AsyncIterator[Sequence[Callable[[Event, bytes], None]]]:
    """Watchers that hand events to the sinks; on leaving, the sinks have `FLUSH_SECONDS` for what is left."""
    if not specs:
        yield ()
        return
    sinks = [_Sink(spec) for spec in specs]
    async with anyio.create_task_group() as group:
        for sink in sinks:
            group.start_soon(sink.drain)
        try:
            yield [sink.offer for sink in sinks]
        finally:
            for sink in sinks:
                sink.close()
            group.cancel_scope.deadline = anyio.current_time() + FLUSH_SECONDS
