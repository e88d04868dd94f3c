"""A test whose container engine hung is asked once more on an engine that works; whatever else fails, has failed.

Docker 20.10 can stop starting and ending containers for good (moby issue 46661), and a test on such an engine tells
nothing of perstack. That an engine hangs is told by the engine's own command alone: it starts no container. It is then
started anew, with its stacks kept in build/engines, and the test counts as "rerun" in pytest's summary.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "engines"
MEND_SECONDS = 400
"""Three engines are asked, and each may have to be started anew."""


class EngineHung(Exception):
    """The engine of a failed test started no container any more, and was started anew."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with engines are asked once more for this one reason."""
    for item in items:
        if item.get_closest_marker("engine") is not None:
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=[EngineHung.__name__]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Fixtures start containers too."""
    return (yield from _watched(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """A failure is the engine's when it hangs."""
    return (yield from _watched(item))


def _watched(item: pytest.Item) -> Generator[None]:
    try:
        return (yield)
    except Exception as error:
        if item.get_closest_marker("engine") is None:
            raise
        mended = mend()
        if not mended:
            raise
        raise EngineHung(mended) from error


def mend() -> str:
    """What hung and was started anew; empty when all engines start containers."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "mend"], capture_output=True, text=True, timeout=MEND_SECONDS, check=False
    )
    return done.stdout + done.stderr
