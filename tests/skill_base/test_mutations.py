"""Each protection is noticed by a test: without it, the test of its row fails.

Every case runs that one test in a process of its own, against a server from which the protection was taken away.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mutations
import pytest

ROOT = Path(__file__).resolve().parents[2]
FAILED, PASSED = 1, 0


def outcome(test, mutation=None):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    if mutation:
        environment[mutations.VARIABLE] = mutation
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout[-3_000:]


@pytest.mark.parametrize("name", mutations.MUTATIONS, ids=lambda name: mutations.MUTATIONS[name].row)
def test_the_test_of_a_row_fails_without_its_protection(name):
    mutation = mutations.MUTATIONS[name]
    assert mutation.row in mutation.test
    code, said = outcome(mutation.test, name)
    assert code == FAILED, f"{mutation.row}: {said}"
    assert "1 failed" in said
    assert "ImportError" not in said
    assert "AttributeError" not in said


def test_the_server_that_is_only_started_the_same_way_passes():
    assert outcome(mutations.MUTATIONS["nothing of a command survives"].test, mutations.NONE)[0] == PASSED
