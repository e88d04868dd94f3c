"""Parsers of what a skill sends hold their promises for any bytes. `FUZZ_SECONDS` says for how long."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hellos import real_hello

TARGETS = Path(__file__).resolve().parents[1] / "support" / "fuzz_egress.py"
SECONDS = int(os.environ.get("FUZZ_SECONDS", "3"))
SEEDS = {
    "request": b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n",
    "hello": b"\x05" + real_hello("api.example.com"),
    "pattern": b"*.api.example.com",
    "squid": b"api.example.com\x1f*.example.net",
}


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no build for this Python")
@pytest.mark.parametrize("target", SEEDS)
def test_AN18_no_bytes_break_a_parser_of_the_gate(target, tmp_path):
    (tmp_path / "seed").write_bytes(SEEDS[target])
    options = [f"-max_total_time={SECONDS}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=4000", "-close_fd_mask=1"]
    words = [sys.executable, str(TARGETS), target, *options, str(tmp_path)]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS + 60, check=False, errors="replace"
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert "Done" in done.stderr
