"""How much memory a process of a test has needed at most."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_PEAK = """
def peak_kib():
    try:
        with open("/proc/self/status") as status:
            return int(next(line.split()[1] for line in status if line.startswith("VmHWM")))
    except FileNotFoundError:  # not Linux
        import resource, sys
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
"""
"""Source of `peak_kib()`. The kernel counts what a process's parent held into ``ru_maxrss``; this is its own alone."""


def perstack_output_and_peak(*words: str, state_dir: Path) -> tuple[bytes, int]:
    """What the command ``perstack WORDS`` prints, and the most KiB of memory that it needed; it ended with 0."""
    source = (
        f"{_PEAK}\nimport sys; from perstack.cli.main import main; code = main({list(words)!r});"
        "print(peak_kib(), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        env={**os.environ, "PERSTACK_STATE_DIR": str(state_dir)},
        timeout=120,
        check=True,
    )
    return done.stdout, int(done.stderr)
