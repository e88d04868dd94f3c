"""``perstack log`` as a test calls it, in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from perstack.cli.main import main

Log = Callable[..., str]


def log_command(capsys: pytest.CaptureFixture[str]) -> Log:
    """A function that runs ``perstack log`` and tells what it printed, or its complaint where it has to fail."""

    def run(*args: str, code: int = 0) -> str:
        assert main(["log", *args]) == code
        captured = capsys.readouterr()
        return captured.out if code == 0 else captured.err

    return run
