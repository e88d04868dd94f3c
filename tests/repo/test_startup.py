"""Start-up is a feature: `perstack --help` imports nothing that costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(sys.executable).with_name("perstack")
# Each costs from 35 ms (pluggy) to 1.5 s (mcp) of a command that should take 80.
BANNED = {"asyncio", "importlib.metadata", "pydantic", "pluggy", "mcp", "httpx2", "rich", "msgspec", "anyio"}


def imported_by(*command: str) -> tuple[str, set[str]]:
    """Standard output, and the names of all modules that the interpreter imported."""
    python = [sys.executable, "-X", "importtime", *command]
    done = subprocess.run(python, capture_output=True, text=True, timeout=60, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done.stdout, {line.rpartition("|")[2].strip() for line in lines}


def test_help_imports_none_of_the_heavy_modules() -> None:
    _, control = imported_by("-c", "import pydantic, asyncio, importlib.metadata")
    assert {"pydantic", "asyncio", "importlib.metadata"} <= control, "the measurement must be able to see them"

    text, imported = imported_by(str(SCRIPT), "--help")

    assert "usage: perstack" in text
    assert imported & BANNED == set()


def test_the_version_imports_none_of_the_heavy_modules() -> None:
    text, imported = imported_by(str(SCRIPT), "--version")
    assert "0." in text
    assert imported & BANNED == set()
