"""A test is asked again when its engine hung, and for no other reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hung_engines
import pytest

CONFTEST = """
import hung_engines
answers = iter({answers!r})
hung_engines.mend = lambda: next(answers)
def pytest_configure(config):
    config.pluginmanager.register(hung_engines)
    config.addinivalue_line("markers", "engine: one of ours")
"""
TEST = """
import pytest
tried = []
@pytest.mark.engine
def test_fails_the_first_time():
    tried.append(1)
    assert len(tried) == 2
"""


@pytest.mark.parametrize(
    ("answers", "closing"),
    [
        (["docker started no container"], "1 passed, 1 rerun"),
        ([""], "1 failed"),
    ],
)
def test_only_a_test_whose_engine_hung_is_asked_again(tmp_path, answers, closing) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.format(answers=answers))
    (tmp_path / "test_one.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    env = {**os.environ, "PYTHONPATH": str(Path(hung_engines.__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env=env,
    )
    assert closing in done.stdout.splitlines()[-1]
    assert done.returncode == (0 if "passed" in closing else 1)
