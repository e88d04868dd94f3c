"""Each test of a boundary is run on each engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from engines import Box, Engine, box, engine

# What a test counts belongs to one engine, so the tests of an engine run one after the other.
ENGINES = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("docker", "podman")]


@pytest.fixture(params=ENGINES)
def name(request) -> str:
    return request.param


@pytest.fixture
def real(name) -> Engine:
    return engine(name)


@pytest.fixture
def hostile(tmp_path: Path, name: str) -> Box:
    """A project whose hostile skill runs in a sandbox."""
    return box(tmp_path, name)
