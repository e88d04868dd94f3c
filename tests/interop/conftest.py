"""Tests against programs of others, which `make test` puts into place. Without them these tests fail."""

from __future__ import annotations

import pytest
from repository import ROOT


@pytest.fixture(scope="session", autouse=True)
def servers_of_others() -> None:
    """They are there."""
    if not (ROOT / "build" / "servers" / "stamp").exists():
        pytest.fail("the servers of others are missing: run scripts/test-servers, as `make test` does")
