"""The perstack command as a user runs it: another process, with settings of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = str(Path(sys.executable).with_name("perstack"))


def perstack(
    *arguments: str, home: Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What the command did; `home` holds the user's settings, and no others are read."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_CONFIG_DIRS": str(home / "site"),
        "XDG_STATE_HOME": str(home / ".state"),
        "TMPDIR": str(home),
        **environment,
    }
    return subprocess.run(
        [SCRIPT, *arguments], cwd=cwd or home, env=env, capture_output=True, text=True, timeout=60, check=False
    )
