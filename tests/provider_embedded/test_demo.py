"""`make demo`: what it shows is true, and it never dresses up a failure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.model, pytest.mark.xdist_group("demo")]
ROOT = Path(__file__).parents[2]
WORKSPACE = ROOT / "build" / "demo" / "workspace"


def demo(**environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "demo")]
    environ = {**os.environ, **environ}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)


def test_the_demo_copies_fresh_text_and_shows_how(cache: Path) -> None:
    texts = []
    for _ in range(2):
        done = demo()
        assert done.returncode == 0, done.stdout + done.stderr
        text = (WORKSPACE / "name.txt").read_text()
        assert (WORKSPACE / "copy.txt").read_text() == text
        assert text.strip() in done.stdout
        assert re.search(r"readTextFile.*writeTextFile", done.stdout, re.DOTALL), "the log shows the calls"
        assert "It is tiny." in done.stdout
        texts.append(text)
    assert texts[0] != texts[1], "the text is random"


def test_a_demo_that_fails_says_so(tmp_path, cache: Path) -> None:
    script = (ROOT / "scripts" / "demo").read_text()
    broken = tmp_path / "scripts" / "demo"
    broken.parent.mkdir()
    broken.write_text(script.replace('"--max-steps", "8"', '"--max-steps", "1"'))
    project = tmp_path / "examples" / "demo" / "perstack.toml"
    project.parent.mkdir(parents=True)
    project.write_text((ROOT / "examples" / "demo" / "perstack.toml").read_text())
    environ = {**os.environ, "PERSTACK_CACHE_DIR": str(cache)}
    command = [sys.executable, str(broken)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "The demo failed" in done.stderr
    assert "exact copy" not in done.stdout
