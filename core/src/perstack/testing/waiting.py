"""Bounded waits for what no event tells of: a test ends as soon as something holds, and says what did not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import anyio

T = TypeVar("T")

SECONDS = 60.0
"""Far more than anything takes; a loaded machine may need it."""
PAUSE_SECONDS = 0.01


def eventually(condition: Callable[[], T], what: str, *, seconds: float = SECONDS) -> T:
    """The first true value of `condition`.

    Raises:
        AssertionError: There was none in `seconds`; says `what` was waited for.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(PAUSE_SECONDS)
    return value


async def eventually_async(condition: Callable[[], T], what: str, *, seconds: float = SECONDS) -> T:
    """The same, while other tasks go on."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        await anyio.sleep(PAUSE_SECONDS)
    return value
