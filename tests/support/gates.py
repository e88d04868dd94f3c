"""Gates, forwarders and their clients as separate processes, for tests that look at them from outside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perstack.testing.fnet.internet import Internet
from perstack.testing.fnet.namespace import Namespace

SQUID = "/usr/sbin/squid"
SECONDS = 20.0
PROXY = [sys.executable, "-m", "perstack_proxy"]


def squid_program() -> str:
    """Squid's program, installed where it is missing. Where that fails, the tests fail: they would show nothing."""
    if shutil.which(SQUID) is None:
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "-y", "--no-install-recommends", "squid-openssl"]):
            subprocess.run([*apt, *words], env=env, capture_output=True, timeout=600, check=True)
    return SQUID


@dataclass(kw_only=True)
class SkillEntry:
    """One skill of a policy, with what the tests leave out filled in."""

    name: str
    domains: Sequence[str] = ()
    off: Sequence[str] = ()
    budgets: dict[str, object] = field(default_factory=dict)
    uids: Sequence[int] = ()
    key: str = ""

    def wire(self, folder: Path) -> dict[str, object]:
        rules = [
            {"pattern": domain, "origin": f"perstack.toml:{10 + at}", "active": domain not in self.off}
            for at, domain in enumerate([*self.domains, *self.off])
        ]
        return {
            "name": self.name,
            "expert": "tester",
            "skill": self.name,
            "socket": str(folder / f"{self.name}.sock"),
            "rules": rules,
            "budgets": self.budgets,
            "uids": list(self.uids),
            "key": self.key,
        }


def policy_line(skills: Sequence[SkillEntry], folder: Path, *, parent: str = "") -> bytes:
    wire = {"type": "policy", "version": 1, "skills": [skill.wire(folder) for skill in skills]}
    if parent:
        wire["parent"] = parent
    return json.dumps(wire).encode() + b"\n"


class GateProcess:
    """`perstack-proxy gate` with its control and audit channels."""

    def __init__(self, command: Sequence[str], skills: Sequence[SkillEntry], folder: Path, *, parent: str = "") -> None:
        self.folder = folder
        self.lines: list[dict[str, object]] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.tell_bytes(policy_line(skills, folder, parent=parent))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait(lambda line: line["event"] == "ready")

    def tell_bytes(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def grant(self, skill: str, pattern: str, *, active: bool, call: str = "") -> None:
        grant = {"type": "grant", "skill": skill, "pattern": pattern, "active": active, "call": call}
        self.tell_bytes(json.dumps(grant).encode() + b"\n")
        self.wait(lambda line: line["event"] == "grant" and line["rule"] == pattern and line["active"] is active)

    def socket(self, skill: str) -> str:
        return str(self.folder / f"{skill}.sock")

    def of(self, event: str) -> list[dict[str, object]]:
        return [line for line in list(self.lines) if line["event"] == event]

    def wait_for(self, event: str, count: int) -> list[dict[str, object]]:
        """The lines of an event, of which there are so many within the bound."""
        self.until(lambda: len(self.of(event)) >= count)
        return self.of(event)

    def wait(self, found: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        """The last line like this, which comes within the bound."""
        self.until(lambda: any(map(found, self.lines)))
        return next(line for line in reversed(self.lines) if found(line))

    def until(self, holds: Callable[[], bool]) -> None:
        """What is said of the lines holds within the bound."""
        deadline = time.monotonic() + SECONDS
        with self._news:
            while not holds():
                left = deadline - time.monotonic()
                running = self.process.poll() is None
                assert left > 0, f"no such line; the gate runs: {running}, and wrote {self.lines[-5:]}"
                self._news.wait(min(left, 0.5))

    def forget(self) -> None:
        """Lines so far are no evidence any more."""
        with self._news:
            self.lines.clear()

    def close(self) -> int:
        """Ends the control channel; the exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            code = self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self._reader.join(SECONDS)
            self.process.stdout.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(json.loads(line))
                self._news.notify_all()


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the 107 characters of a unix socket's."""
    with tempfile.TemporaryDirectory(prefix="gate-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def gate(internet: Internet, *skills: SkillEntry, way: str = "direct", parent: str = "") -> Iterator[GateProcess]:
    """A gate inside the internet's namespace. `way` is `direct`, `squid`, or the path of another Squid."""
    with short_folder() as folder:
        program = SQUID if way == "squid" else way
        options = [] if way == "direct" else ["--squid", program, "--folder", str(folder)]
        command = internet.namespace.command(*PROXY, "gate", *options)
        running = GateProcess(command, skills, folder, parent=parent)
        try:
            yield running
        finally:
            running.close()


@contextlib.contextmanager
def gate_here(*skills: SkillEntry) -> Iterator[GateProcess]:
    """A gate on this machine's own network, for tests of what it denies."""
    with short_folder() as folder:
        running = GateProcess([*PROXY, "gate"], skills, folder)
        try:
            yield running
        finally:
            running.close()


@contextlib.contextmanager
def forwarder(sandbox: Namespace, path: str) -> Iterator[str]:
    """The forwarder's URL inside a sandbox's namespace."""
    process = subprocess.Popen(sandbox.command(*PROXY, "forward", path), stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait(SECONDS)
        process.stdout.close()


def dial(path: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.settimeout(SECONDS)
    found.connect(path)
    return found


def read_to_end(source: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionError):
        while received := source.recv(65536):
            data += received
    return data


def ask(path: str, data: bytes) -> bytes:
    """Everything that the gate answers to these bytes until it closes."""
    with dial(path) as client:
        with contextlib.suppress(OSError):
            client.sendall(data)
        return read_to_end(client)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A status, and the JSON body of a denial."""

    status: int
    body: dict[str, object]


def connect(path: str, target: str) -> Answer:
    """What the gate answers to a CONNECT, as long as it denies it."""
    data = ask(path, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head, _, body = data.partition(b"\r\n\r\n")
    return Answer(status=int(head.split()[1]), body=json.loads(body))


def tunnel(path: str, target: str) -> socket.socket:
    """A tunnel that the gate has opened, before a byte went through it."""
    with contextlib.ExitStack() as undo:
        client = undo.enter_context(dial(path))
        client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            received = client.recv(1)
            if not received:
                break
            head += received
        assert head.startswith(b"HTTP/1.1 200 "), head
        undo.pop_all()
        return client


def secure(client: socket.socket, authority: Path, name: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(authority))
    with contextlib.ExitStack() as undo:
        undo.callback(client.close)
        found = undo.enter_context(context.wrap_socket(client, server_hostname=name, do_handshake_on_connect=False))
        found.do_handshake()
        undo.pop_all()
        return found


def get(path: str, host: str, authority: Path, *, name: str | None = None, page: str = "/") -> bytes:
    """The body of a page of an allowed host, through the gate."""
    with secure(tunnel(path, f"{host}:443"), authority, name or host) as client:
        client.sendall(f"GET {page} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return read_to_end(client).partition(b"\r\n\r\n")[2]
