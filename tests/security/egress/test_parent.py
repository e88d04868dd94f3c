"""A network whose own proxy leads out: everything goes through it, and its password stays secret."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from gates import SkillEntry, connect, gate, get
from parent_proxy import ADDRESS, PORT, parent_proxy

API = "api.example.com"
EVIL = "evil.example.org"
SERVER = "93.184.216.34"
SKILL = SkillEntry(name="one", domains=[API, "gone.example.com"])
USER, PASSWORD = "canary user", "p%40ss %3A#\"$\\x'"
LOGIN = "canary%20user:p%2540ss%20%253A%23%22%24%5Cx%27"


@pytest.fixture(params=["direct", "squid"])
def way(request, squid) -> str:
    return request.param


def test_N7_an_allowed_host_is_reached_through_the_parent_alone_and_the_gate_looks_no_name_up(internet, way):
    internet.forget()
    with (
        parent_proxy(internet, {API: SERVER}, user=f"{USER}:{PASSWORD}") as parent,
        gate(internet, SKILL, way=way, parent=f"http://{LOGIN}@{ADDRESS}:{PORT}") as running,
    ):
        path = running.socket("one")
        denied = connect(path, f"{EVIL}:443")
        assert (denied.status, denied.body["code"]) == (403, "host")
        assert get(path, API, internet.authority) == b"hello"
        refused = connect(path, "gone.example.com:443")
        assert (refused.status, refused.body["code"]) == (502, "unreachable")
        assert [head.split()[1] for head in parent.heads] == [f"{API}:443", "gone.example.com:443"]
        # Squid looks a listed name up beside the connection, for its table of distances, and does not wait for it.
        assert internet.asked() <= (set() if way == "direct" else {API, "gone.example.com"})
        assert [arrival.server_name for arrival in internet.arrivals] == [API]
        (opened,) = running.of("open")
        assert opened["address"] == ""
        assert str(opened["via"]).startswith("parent" if way == "direct" else "squid:")
        assert "canary" not in repr(running.lines)


def test_S1_the_password_is_on_no_command_line_and_in_no_file_that_others_can_read(internet, way):
    with (
        parent_proxy(internet, {API: SERVER}, user=f"{USER}:{PASSWORD}") as parent,
        gate(internet, SKILL, way=way, parent=f"http://{LOGIN}@{ADDRESS}:{PORT}") as running,
    ):
        assert get(running.socket("one"), API, internet.authority) == b"hello"
        assert parent.heads
        lines = [path.read_bytes() + environ(path) for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert any(b"perstack_proxy" in line for line in lines), "the gate's own line is among them"
        logins = (USER.encode(), USER.replace(" ", "%20").encode())  # other tests have canaries of their own
        assert not any(login in line for login in logins for line in lines)
        files = [path for path in running.folder.iterdir() if path.is_file()]
        assert [path.stat().st_mode & 0o077 for path in files] == [0] * len(files)
        assert bool(files) == (way == "squid")


def environ(cmdline: Path) -> bytes:
    try:
        return cmdline.with_name("environ").read_bytes()
    except OSError:
        return b""


def test_a_parent_that_wants_another_password_is_an_answer_and_not_a_hang(internet, way):
    internet.forget()
    with (
        parent_proxy(internet, {API: SERVER}, user="canary:other") as parent,
        gate(internet, SKILL, way=way, parent=f"http://{LOGIN}@{ADDRESS}:{PORT}") as running,
    ):
        denied = connect(running.socket("one"), f"{API}:443")
        assert (denied.status, denied.body["code"]) == (502, "unreachable")
        assert internet.arrivals == []
        parent.user = f"{USER}:{PASSWORD}"
        assert get(running.socket("one"), API, internet.authority) == b"hello"


def test_AH1_a_gate_and_its_Squid_leave_no_shared_memory_also_when_they_are_killed(internet, squid):
    def left() -> list[str]:
        return [path.name for path in Path("/dev/shm").glob(f"perstack{running.process.pid}-*")]

    with gate(internet, SKILL, way="squid") as running:
        assert get(running.socket("one"), API, internet.authority) == b"hello"
        assert left() == []
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(10)
        assert left() == []
    busy = subprocess.run(
        ["pgrep", "-f", f"perstack{running.process.pid}"], capture_output=True, text=True, check=False
    )
    assert busy.stdout == ""


def test_AH1_a_gate_removes_the_shared_memory_of_one_that_was_killed_before_its_Squid_listened(internet, squid):
    ended = subprocess.Popen(["true"])
    ended.wait(10)
    left, used = (Path(f"/dev/shm/perstack{pid}-test.shm") for pid in (ended.pid, os.getpid()))
    try:
        for path in (left, used):
            path.touch()
        with gate(internet, SKILL, way="squid") as running:
            assert get(running.socket("one"), API, internet.authority) == b"hello"
        assert not left.exists()
        assert used.exists(), "the control: its process is there"
    finally:
        for path in (left, used):
            path.unlink(missing_ok=True)
