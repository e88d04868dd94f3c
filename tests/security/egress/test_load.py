"""Many clients at once, and Squid killed in the middle: no unlisted byte, no hang, and a line for every request."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from gates import GateProcess, SkillEntry, dial, gate, get, tunnel
from perstack.testing.waiting import eventually

API = "api.example.com"
EVIL = "evil.example.org"
#: The full size is 10,000 requests from 50 clients: EGRESS_LOAD=10000.
REQUESTS = int(os.environ.get("EGRESS_LOAD", "1000"))
CLIENTS = 50
WIDE = {"connections": 1000, "requests_per_minute": 10**6}


def squid_of(running: GateProcess) -> int:
    """The process id of the Squid that this gate started."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().partition(") ")
            if name.endswith("(squid") and int(rest.split()[1]) == running.process.pid:
                return int(path.parent.name)
    raise AssertionError("the gate has no Squid")


def one_request(path: str, number: int) -> int:
    """The status of one request; every third one is for a host that is not allowed."""
    host = EVIL if number % 3 == 0 else API
    with dial(path) as client:
        client.sendall(f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())
        return int(client.recv(65536).split()[1])


@pytest.mark.parametrize("way", ["direct", "squid"])
def test_AN12_a_crowd_of_clients_and_a_killed_Squid_lose_nothing(internet, squid, way):
    internet.forget()
    statuses: Counter[int] = Counter()
    lock = threading.Lock()
    numbers = iter(range(1, REQUESTS + 1))
    with gate(
        internet, SkillEntry(name="one", domains=[API], budgets={"skill": WIDE, "host": WIDE}), way=way
    ) as running:
        path = running.socket("one")

        def client() -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                status = one_request(path, number)
                with lock:
                    statuses[status] += 1
                    middle = sum(statuses.values()) == REQUESTS // 2
                if middle and way == "squid":
                    os.kill(squid_of(running), signal.SIGKILL)

        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads), "no client hangs"
        assert sum(statuses.values()) == REQUESTS
        assert statuses[403] == REQUESTS // 3
        assert set(statuses) <= {200, 403, 502}
        assert statuses[502] == 0 or way == "squid"
        running.until(lambda: len(running.of("close")) == statuses[200])
        opened = {line["seq"] for line in running.of("open")}
        denied = Counter(line["verdict"] for line in running.of("deny") if "opened" not in line)
        assert len(opened) == statuses[200]
        assert denied["host"] == statuses[403]
        assert len(opened) + denied.total() == REQUESTS
        assert {line["opened"] for line in running.of("close")} == opened
        assert [line["seq"] for line in running.lines] == list(range(1, len(running.lines) + 1))
        assert internet.asked() <= {API}
        assert {arrival.address for arrival in internet.arrivals} == {"93.184.216.34"}
        assert time.monotonic() - started < 120
        if way == "squid":
            running.wait_for("squid-ended", 1)
            eventually(lambda: _answers(path, internet), "a new Squid takes its place")


def _answers(path: str, internet) -> bool:
    with contextlib.suppress(AssertionError, OSError):
        return get(path, API, internet.authority) == b"hello"
    return False


def test_500_tunnels_at_once_fit_into_100_MB(internet):
    entry = SkillEntry(name="one", domains=[API], budgets={"skill": WIDE, "host": WIDE})
    with gate(internet, entry) as running, contextlib.ExitStack() as undo:
        tunnels = [undo.enter_context(tunnel(running.socket("one"), f"{API}:443")) for _ in range(500)]
        assert len(running.wait_for("open", 500)) == 500
        pages = int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[1])
        assert len(tunnels) == 500
        assert pages * os.sysconf("SC_PAGE_SIZE") < 100 * 1024 * 1024
