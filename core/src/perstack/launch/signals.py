"""Signals end a run in good order: it is cancelled, and leaves a checkpoint."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from perstack.errors import ExitCode, PerstackError

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(PerstackError):
    """A signal ended the run, which left a checkpoint."""

    def __init__(self, number: signal.Signals, *, hint: str = "") -> None:
        super().__init__(f"Ended by {number.name}.", hint=hint)
        self.exit_code = ExitCode.INTERRUPTED if number is signal.SIGINT else ExitCode.TERMINATED


@asynccontextmanager
async def ended_by_signals(hint: Callable[[], str]) -> AsyncIterator[None]:
    """The body, cancelled by the first signal that asks this process to end.

    Raises:
        Interrupted: A signal came; `hint` says how to go on.
    """
    received: list[signal.Signals] = []

    async def watch(scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*_heeded()) as signals:
            task_status.started()
            async for number in signals:
                received.append(signal.Signals(number))
                scope.cancel()

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            await group.start(watch, scope)
            yield
        group.cancel_scope.cancel()
    if received:
        raise Interrupted(received[0], hint=hint())


def _heeded() -> tuple[signal.Signals, ...]:
    """The signals that end a run: not the loss of the terminal where it is ignored already, as under ``nohup``."""
    hangup = getattr(signal, "SIGHUP", None)
    return tuple(number for number in ENDING if number != hangup or signal.getsignal(number) != signal.SIG_IGN)
