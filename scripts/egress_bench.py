"""What the gate costs: the same TLS request directly, through Squid alone, and through each way of the gate.

`scripts/bench` takes its egress figures from here. Everything runs in a network namespace of its own, with the servers
of the fake internet; a client process takes turns between the ways, so that a busy moment hits all of them. Whoever
connects looks the name up: the client, Squid, or the gate. Linux and root.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gates import SkillEntry
    from perstack.testing.fnet.internet import Internet

ROOT = Path(__file__).resolve().parent.parent
HOST, ADDRESS, DENIED = "api.example.com", "93.184.216.34", "evil.example.org"
MIB = 1024 * 1024
LARGE = 64 * MIB
ROUNDS = 300
TUNNELS = 500
FORWARDER_PORT = 3128
#: Ways to the same server; each of the gate's is measured with a forwarder in front too.
DIRECT, SQUID, GATE, BOTH = "direct", "egress-squid-alone", "egress-gate", "egress-gate-and-squid"
FORWARDED = "-behind-forwarder"
WAYS = (SQUID, GATE, BOTH, GATE + FORWARDED, BOTH + FORWARDED)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was seen of each way, and the gate's memory with 500 tunnels.

    Attributes:
        requests: Milliseconds of each request by way.
        denials: Milliseconds of each.
        rates: MiB/s of large answers by way.
        costs: CPU seconds of all processes for each GiB of them.
        memory: Bytes.
    """

    requests: dict[str, list[float]]
    denials: list[float]
    rates: dict[str, list[float]]
    costs: dict[str, list[float]]
    memory: int

    def denial(self) -> float:
        """Milliseconds of the median denial."""
        return quantile(self.denials, 0.5)

    def added(self, way: str, share: float) -> float:
        """Milliseconds that a way adds at this share of the requests.

        The median is that of the differences within a round, whose requests follow one another: what slows the machine
        down for a while slows both. A tail has no pairs: its slow requests are other ones.
        """
        if share == 0.5:
            pairs = zip(self.requests[way], self.requests[DIRECT], strict=True)
            return quantile([taken - direct for taken, direct in pairs], share)
        return quantile(self.requests[way], share) - quantile(self.requests[DIRECT], share)

    def throughput(self, way: str) -> float:
        """Per cent of the direct rate; the best of a few, because noise only ever slows."""
        return 100 * max(self.rates[way]) / max(self.rates[DIRECT])

    def cost(self, way: str) -> float:
        """CPU seconds for each GiB of a large answer: of the server, the client, and whatever is between them."""
        return sum(self.costs[way]) / len(self.costs[way])


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def measure() -> Measured:
    """Every figure in one run.

    Raises:
        RuntimeError: It cannot be had here; the text says why.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise RuntimeError("network namespaces need Linux and root")
    if shutil.which("squid", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        raise RuntimeError("install Squid first (Debian: squid-openssl)")
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from gates import PROXY, SkillEntry
    from perstack.testing.fnet.internet import Internet

    wide = {"connections": 10**4, "requests_per_minute": 10**6, "bytes_up": 2**50, "bytes_down": 2**50}
    entry = SkillEntry(name="bench", domains=[HOST], budgets={"skill": wide, "host": wide}, key=secrets.token_hex(16))
    with contextlib.ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="bench-egress-")))
        internet = undo.enter_context(Internet(folder, names=[HOST]))
        internet.site(HOST, ADDRESS)
        internet.pages["/large"] = ("application/octet-stream", bytes(LARGE))
        direct, squid = (undo.enter_context(gate(internet, entry, squid=squid)) for squid in (False, True))
        processes = [os.getpid(), direct.pid, squid.pid]
        ways: dict[str, list[str | int]] = {
            DIRECT: [HOST, 443],
            SQUID: ["127.0.0.1", 3201],
            GATE: [direct.socket],
            BOTH: [squid.socket],
        }
        for at, way in enumerate((GATE, BOTH)):
            port = FORWARDER_PORT + at
            command = internet.namespace.command(*PROXY, "forward", str(ways[way][0]), str(port), "--offer")
            forwarder = undo.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            undo.callback(forwarder.kill)
            assert forwarder.stdin is not None
            assert forwarder.stdout is not None
            forwarder.stdin.write(entry.key.encode() + b"\n")
            forwarder.stdin.flush()
            forwarder.stdout.readline()
            processes.append(forwarder.pid)
            ways[way + FORWARDED] = ["127.0.0.1", port]
        client = internet.namespace.command(sys.executable, __file__)
        given = json.dumps(
            {"ways": ways, "authority": str(internet.authority), "gate": direct.pid, "processes": processes}
        )
        done = subprocess.run(client, input=given, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
        return Measured(**json.loads(done.stdout))


@dataclass(frozen=True, kw_only=True)
class RunningGate:
    """A gate, and the socket of its one skill."""

    pid: int
    socket: str


@contextlib.contextmanager
def gate(internet: Internet, entry: SkillEntry, *, squid: bool) -> Iterator[RunningGate]:
    """A gate whose record another process reads, as in a run: ours serves, and one of its threads works at a time."""
    from gates import PROXY, SQUID, policy_line, short_folder

    with short_folder() as folder:
        words = internet.namespace.command(
            *PROXY, "gate", *(["--squid", SQUID, "--folder", str(folder)] if squid else [])
        )
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(policy_line([entry], folder))
            process.stdin.flush()
            process.stdout.readline()
            with subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL):
                process.stdout.close()
                try:
                    yield RunningGate(pid=process.pid, socket=str(folder / f"{entry.name}.sock"))
                finally:
                    process.stdin.close()
                    process.wait(20)


def with_children(pid: int) -> list[int]:
    """The process and those that it started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(int(word) for task in tasks for word in task.read_text().split())]


# --- the client process --------------------------------------------------------------------------------------------


def connected(place: list[str | int], *, proxy: bool, host: str = HOST) -> socket.socket:
    """A connection to the server, or to a proxy that was asked for it."""
    if len(place) == 1:
        found = socket.socket(socket.AF_UNIX)
        found.connect(str(place[0]))
    else:
        found = socket.create_connection((str(place[0]), int(place[1])))
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if proxy:
        found.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
        found.recv(65536)
    return found


def get(source: socket.socket, context: ssl.SSLContext, page: str) -> int:
    """Bytes of the answer."""
    buffer, count = bytearray(4 * 65536), 0
    with context.wrap_socket(source, server_hostname=HOST) as client:
        client.sendall(f"GET {page} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        while received := client.recv_into(buffer):
            count += received
    return count


@contextlib.contextmanager
def timed(into: list[float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    into.append(1000 * (time.perf_counter() - started))


def cpu_seconds(processes: set[int]) -> float:
    """What they and this process have used of the processors."""
    ticks = 0
    for pid in processes:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


def client(ways: dict[str, list[str | int]], authority: str, gate: int, processes: list[int]) -> dict[str, object]:
    context = ssl.create_default_context(cafile=authority)
    requests: dict[str, list[float]] = {way: [] for way in ways}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    costs: dict[str, list[float]] = {way: [] for way in ways}
    denials: list[float] = []
    for _ in range(ROUNDS):
        for way, place in ways.items():
            with timed(requests[way]):
                get(connected(place, proxy=way != DIRECT), context, "/")
        with timed(denials):
            connected(ways[GATE], proxy=True, host=DENIED).close()
    used = {found for pid in processes[1:] for found in with_children(pid)} | {processes[0]}
    for _ in range(3):
        for way, place in ways.items():
            took: list[float] = []
            before = cpu_seconds(used)
            with timed(took):
                assert get(connected(place, proxy=way != DIRECT), context, "/large") > LARGE
            rates[way].append(LARGE / MIB / (took[0] / 1000))
            costs[way].append((cpu_seconds(used) - before) * 1024 * MIB / LARGE)
    tunnels = [connected(ways[GATE], proxy=True) for _ in range(TUNNELS)]
    pages = int(Path(f"/proc/{gate}/statm").read_text().split()[1])
    for tunnel in tunnels:
        tunnel.close()
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    return {"requests": requests, "denials": denials, "rates": rates, "costs": costs, "memory": memory}


if __name__ == "__main__":
    json.dump(client(**json.load(sys.stdin)), sys.stdout)
