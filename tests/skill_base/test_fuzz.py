"""Parsers of what a model or a client sends hold their promises for any bytes. `FUZZ_SECONDS` says for how long."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TARGETS = Path(__file__).resolve().parents[1] / "support" / "fuzz_targets.py"
SECONDS = int(os.environ.get("FUZZ_SECONDS", "3"))


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no build for this Python")
@pytest.mark.parametrize("target", ["paths", "patch", "message", "glob"])
def test_no_bytes_break_a_parser(target, tmp_path):
    options = [f"-max_total_time={SECONDS}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=2000", "-close_fd_mask=1"]
    words = [sys.executable, str(TARGETS), target, *options, str(tmp_path)]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS + 60, check=False, errors="replace"
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert "Done" in done.stderr
