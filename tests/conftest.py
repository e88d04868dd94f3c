"""Settings that hold for every test."""

from __future__ import annotations

import signal

import hung_engines
import pytest
import requirement_matrix
from hypothesis import settings

# Time limits belong to benchmarks: on a busy machine an example that takes long proves nothing.
settings.register_profile("perstack", deadline=None)
settings.load_profile("perstack")

# What the processes of tests heed must not depend on whether somebody started the tests under nohup.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# Checks that plugins inherit from the kit explain their failures as tests do.
pytest.register_assert_rewrite("perstack.testing")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Coroutine tests run on asyncio, the one event loop that we support."""
    return "asyncio"


def pytest_configure(config: pytest.Config) -> None:
    """Which requirement is shown by which test, as a table in build/; and which engine hung."""
    requirement_matrix.register(config)
    config.pluginmanager.register(hung_engines)
