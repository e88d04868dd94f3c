"""Process trees are found whole and end whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid

import pytest
from perstack.testing.waiting import eventually
from perstack_proxy import prctl, processes
from perstack_proxy.processes import descendants, end_tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes")


@pytest.fixture
def spawn():
    """Starts a shell script in a session of its own; whatever is left of it is killed with the test."""
    started = []

    def start(script):
        process = subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        end_tree(process.pid, grace=0)
        process.wait(10)
        process.stdout.close()


def test_descendants_are_found_nearest_first(spawn):
    process = spawn("sleep 600 & (sleep 600 & sleep 600; :) & echo ready; wait")
    eventually(lambda: len(descendants(process.pid)) == 4, "all four are there")
    table = {row.pid: row for row in processes.process_table()}
    found = descendants(process.pid)
    assert [table[pid].parent == process.pid for pid in found] == [True, True, False, False]
    assert process.pid not in found


def test_a_tree_ends_with_its_root_at_SIGTERM(spawn):
    process = spawn("sleep 600 & sleep 600 & echo ready; wait")
    assert end_tree(process.pid, grace=5) == []
    assert process.wait(5) == -signal.SIGTERM
    assert descendants(process.pid) == []


def test_AX1_a_member_that_ignores_SIGTERM_is_killed_after_the_grace(spawn):
    process = spawn("trap '' TERM; echo ready; while :; do sleep 600; done")
    started = time.monotonic()
    assert end_tree(process.pid, grace=0.3) == []
    assert time.monotonic() - started >= 0.3
    assert process.wait(5) == -signal.SIGKILL


def test_a_stopped_member_ends_too(spawn):
    process = spawn("echo ready; kill -STOP $$; :")
    assert end_tree(process.pid, grace=5) == []
    assert process.wait(5) == -signal.SIGTERM


def test_only_what_is_below_ends_if_the_root_is_left_out(spawn):
    process = spawn("sleep 600 & echo ready; read never")
    process_tree = descendants(process.pid)
    assert end_tree(process.pid, grace=1, include_root=False) == []
    assert process_tree


def test_an_orphan_in_the_roots_group_is_found_without_a_subreaper(spawn):
    process = spawn("(sleep 600 & :) ; echo ready; exec sleep 600")
    eventually(lambda: len(descendants(process.pid)) == 1, "the other has ended")
    assert end_tree(process.pid, grace=5) == []
    assert descendants(process.pid) == []


SUBREAPER = """
import os, subprocess, sys
from perstack_proxy.processes import become_subreaper, descendants, end_tree
assert become_subreaper()
script = "setsid sh -c 'sleep 600 & exec env -i sleep 600' & (setsid sleep 600 &) ; sleep 0.1; exit 0"
subprocess.run(["sh", "-c", script + " # " + sys.argv[1]], check=True)
print(len(descendants(os.getpid())), flush=True)
print(end_tree(os.getpid(), grace=1, include_root=False), descendants(os.getpid()), flush=True)
"""


@pytest.mark.skipif(not processes.LINUX, reason="subreapers are Linux")
def test_AX2_a_subreaper_ends_what_left_its_session_group_and_parent():
    done = subprocess.run(
        [sys.executable, "-c", SUBREAPER, str(uuid.uuid4())], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "3\n[] []\n"


@pytest.mark.parametrize("pid", [1, 0, -1, -500])
def test_never_a_signal_to_everything(pid, monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    with pytest.raises(ValueError, match="refusing"):
        end_tree(pid)
    with pytest.raises(ValueError, match="refusing to end this process"):
        end_tree(os.getpid())
    assert sent == []


def test_a_process_that_is_gone_is_an_empty_tree():
    process = subprocess.Popen(["true"])
    process.wait()
    assert end_tree(process.pid, grace=0) == []


@pytest.mark.skipif(not processes.LINUX, reason="prctl is Linux")
def test_a_child_dies_with_its_parent():
    child = (
        "import time; from perstack_proxy.processes import die_with_parent; assert die_with_parent(); "
        "print('up', flush=True); time.sleep(600)"
    )
    parent = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); "
        "print(p.pid, flush=True); p.wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    with process.stdout as lines:
        pid = int(lines.readline())
        assert lines.readline() == "up\n"
        process.kill()
        process.wait(10)
        eventually(lambda: all(row.pid != pid or row.state == "Z" for row in processes.process_table()), "it has ended")


def test_the_table_of_ps_agrees_with_proc():
    if not (os.path.exists("/bin/ps") and processes.LINUX):
        pytest.skip("needs both")
    own = next(row for row in processes._table_of_ps() if row.pid == os.getpid())
    assert own[:3] == next(row for row in processes._table_of_proc() if row.pid == os.getpid())[:3]


def test_where_there_is_no_prctl_the_answer_is_false(monkeypatch):
    monkeypatch.setattr(prctl, "LINUX", False)
    assert not processes.become_subreaper()
    assert not processes.set_not_dumpable()
    assert not processes.die_with_parent()
