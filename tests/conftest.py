"""Settings that hold for every test: coroutine tests run on asyncio, the one event loop that we support."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
