"""Tasks that live as long as a block of code, without changing the exceptions that leave the block."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio.abc import TaskGroup

T = TypeVar("T")


class Later(Generic[T]):
    """What a function that runs in the background will have returned, or raised.

    Args:
        tasks: Where it runs.
        function: Is called at once.
    """

    def __init__(self, tasks: TaskGroup, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._ended = anyio.Event()
        self._results: list[T] = []
        self._failure: Exception | None = None
        tasks.start_soon(self._run)

    async def _run(self) -> None:
        try:
            self._results.append(await self._function())
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            self._failure = error
        finally:
            self._ended.set()

    async def result(self) -> T:
        """What it returned, as soon as it has.

        Raises:
            Exception: What it raised.
        """
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure
        return self._results[0]


@asynccontextmanager
async def background() -> AsyncIterator[TaskGroup]:
    """A task group that is cancelled at the end of the block.

    A bare task group wraps what the block raises in an exception group; here it arrives as it was raised. Errors of
    the tasks themselves still come as a group: tasks are expected to handle their own.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except Exception as error:  # noqa: BLE001 - raised again below, outside of the group
            failure = error
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
