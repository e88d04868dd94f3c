"""The real weights, fetched once by the command that users have, into the repository's own cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from perstack_provider_embedded.provider import EmbeddedProvider

CACHE = Path(__file__).parents[2] / "build" / "cache"


@pytest.fixture(scope="session")
def cache() -> Path:
    """A cache with the weights in it; that they cannot be had is a failure, not a reason to skip."""
    command = [sys.executable, "-m", "perstack", "model", "add", "smollm2"]
    environ = {**os.environ, "PERSTACK_CACHE_DIR": str(CACHE)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return CACHE


@pytest.fixture
async def provider(cache: Path) -> AsyncIterator[EmbeddedProvider]:
    provider = EmbeddedProvider(cache_dir=cache, threads=1, context=4096)
    yield provider
    await provider.aclose()
