"""A sandbox's port that becomes the gate's: taken once, checked, served like the socket, of no use to hostile hands."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gates import SECONDS, SkillEntry, connect, dial, gate_here, read_to_end
from perstack.testing.waiting import eventually
from perstack_proxy.handover import accept_at

KEY = secrets.token_hex(16)
OFFER, TAKEN = b"\0" + KEY.encode(), b"\1"
SO_TIMESTAMPING = 37
REQUEST = b"CONNECT evil.example.org:443 HTTP/1.1\r\n\r\n"


@contextlib.contextmanager
def forwarder(path: str, key: str = KEY) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    command = [sys.executable, "-m", "perstack_proxy", "forward", path, "0", "--offer"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(key.encode() + b"\n")
            process.stdin.flush()
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def listener(address: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((address, 0))


def offered(path: str, *sockets: socket.socket, message: bytes = OFFER) -> tuple[socket.socket, bytes]:
    """The connection that offered these, and the first byte of the answer if there was one."""
    gate = dial(path)
    socket.send_fds(gate, [message], [one.fileno() for one in sockets])
    return gate, first_byte(gate)


def first_byte(gate: socket.socket) -> bytes:
    with contextlib.suppress(ConnectionError):
        return gate.recv(1)
    return b""


def ask_at(port: int) -> bytes:
    """The whole answer to a request at a port."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client:
        client.sendall(REQUEST)
        return read_to_end(client)


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_gate_serves_the_port_of_a_sandbox_whose_forwarder_stands_still():
    with gate_here(SkillEntry(name="one", key=KEY)) as running, forwarder(running.socket("one")) as (process, port):
        assert ask_at(port).startswith(b"HTTP/1.1 403 ")
        os.kill(process.pid, signal.SIGSTOP)
        assert ask_at(port).startswith(b"HTTP/1.1 403 ")
        assert {line["host"] for line in running.wait_for("deny", 2)} == {"evil.example.org"}


def test_a_second_forwarder_carries_what_the_gate_does_not_accept_itself():
    with (
        gate_here(SkillEntry(name="one", key=KEY)) as running,
        forwarder(running.socket("one")) as (_, first),
        forwarder(running.socket("one")) as (process, second),
    ):
        assert ask_at(first).startswith(b"HTTP/1.1 403 ")
        assert ask_at(second).startswith(b"HTTP/1.1 403 ")
        os.kill(process.pid, signal.SIGSTOP)
        with socket.create_connection(("127.0.0.1", second), timeout=0.3) as client:
            client.sendall(REQUEST)
            with pytest.raises(TimeoutError):
                client.recv(1)


def test_the_port_ends_with_its_forwarder_and_says_when_there_is_no_gate_any_more():
    with gate_here(SkillEntry(name="one", key=KEY)) as running, forwarder(running.socket("one")) as (process, port):
        assert ask_at(port).startswith(b"HTTP/1.1 403 ")
        process.kill()
        eventually(lambda: is_refused(port), "nobody listens")
    with gate_here(SkillEntry(name="one", key=KEY)) as running, forwarder(running.socket("one")) as (_, port):
        assert ask_at(port).startswith(b"HTTP/1.1 403 ")
        running.close()
        assert ask_at(port).startswith(b"HTTP/1.1 503 ")


def test_AN12_giving_the_port_uses_none_of_the_connections():
    one = {"connections": 1, "requests_per_minute": 100, "bytes_up": 2**30, "bytes_down": 2**30}
    entry = SkillEntry(name="one", key=KEY, budgets={"skill": one, "host": one})
    with gate_here(entry) as running, forwarder(running.socket("one")) as (_, port):
        assert ask_at(port).startswith(b"HTTP/1.1 403 ")
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as silent:
            eventually(lambda: ask_at(port).startswith(b"HTTP/1.1 429 "), "the one connection counts")
            silent.close()
        eventually(lambda: ask_at(port).startswith(b"HTTP/1.1 403 "), "and is free again")


def hostile(kind: str, folder: Path, undo: contextlib.ExitStack) -> list[socket.socket]:
    """What a skill might send in place of a port."""
    unix = undo.enter_context(socket.socket(socket.AF_UNIX))
    if kind == "unix":
        unix.bind(str(folder / "own.sock"))
        unix.listen()
        return [unix]
    good = undo.enter_context(listener())
    if kind == "connection":
        return [undo.enter_context(socket.create_connection(good.getsockname()))]
    if kind == "everywhere":
        return [undo.enter_context(listener("0.0.0.0"))]
    if kind == "datagrams":
        return [undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))]
    if kind == "version 6":
        return [undo.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))]
    if kind == "not listening":
        return [undo.enter_context(socket.socket())]
    assert kind == "two"
    return [good, undo.enter_context(listener())]


KINDS = ["unix", "connection", "everywhere", "datagrams", "version 6", "not listening", "two", "a file"]


@pytest.mark.parametrize("kind", KINDS)
def test_AN16_nothing_but_one_port_on_loopback_is_taken(kind, tmp_path):
    with (
        gate_here(SkillEntry(name="one", key=KEY), SkillEntry(name="two", key=KEY)) as running,
        contextlib.ExitStack() as undo,
    ):
        open_before = len(os.listdir(f"/proc/{running.process.pid}/fd"))
        if kind == "a file":
            gate = undo.enter_context(dial(running.socket("one")))
            with open("/etc/passwd", "rb") as file:
                socket.send_fds(gate, [OFFER], [file.fileno()])
            answer = first_byte(gate)
        else:
            gate, answer = offered(running.socket("one"), *hostile(kind, tmp_path, undo))
            undo.callback(gate.close)
        assert answer == b""
        eventually(lambda: len(os.listdir(f"/proc/{running.process.pid}/fd")) == open_before, "what was sent is closed")
        good = undo.enter_context(listener())
        control, answer = offered(running.socket("two"), good)
        undo.callback(control.close)
        assert answer == TAKEN
        assert ask_at(good.getsockname()[1]).startswith(b"HTTP/1.1 403 ")


def test_AN16_a_port_is_taken_once_and_only_from_who_knows_the_key():
    entries = [SkillEntry(name="one", key=KEY), SkillEntry(name="none")]
    with gate_here(*entries) as running, listener() as port, contextlib.ExitStack() as undo:
        for path, key in ((running.socket("one"), secrets.token_hex(16)), (running.socket("none"), "")):
            other, answer = offered(path, port, message=b"\0" + key.encode())
            undo.callback(other.close)
            assert answer + read_to_end(other)[:11] == b"HTTP/1.1 400"
        assert len(running.wait_for("deny", 2)) == 2
        control, answer = offered(running.socket("one"), port)
        undo.callback(control.close)
        assert answer == TAKEN
        late, answer = offered(running.socket("one"), port)
        undo.callback(late.close)
        assert answer == b"H"


def test_AN16_a_skill_that_still_holds_its_port_cannot_make_the_gate_wait():
    """The port's description is shared, so its holder can make an `accept` wait; only its own."""
    with gate_here(SkillEntry(name="bad", key=KEY), SkillEntry(name="good")) as running, listener() as port:
        bad, answer = offered(running.socket("bad"), port)
        assert answer == TAKEN
        stop = threading.Event()

        def steal() -> None:
            while not stop.is_set():
                port.settimeout(None)
                with contextlib.suppress(OSError), socket.create_connection(port.getsockname(), timeout=0.05):
                    port.settimeout(0.01)
                    port.accept()[0].close()

        thief = threading.Thread(target=steal)
        thief.start()
        try:
            for _ in range(50):
                assert connect(running.socket("good"), "evil.example.org:443").status == 403
                assert connect(running.socket("bad"), "evil.example.org:443").status == 403
        finally:
            stop.set()
            thief.join(SECONDS)
        assert not thief.is_alive()
        bad.close()
        assert running.close() == 0, "and it ends"


def test_AN16_no_option_of_the_port_makes_the_gate_wait_for_a_close_or_wake_without_end():
    own, ours = socket.socketpair()
    hostile_linger = struct.pack("ii", 1, 3600)
    with listener() as port, own, ours:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, hostile_linger)
        port.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, 0x2 | 0x10)
        port.setsockopt(socket.IPPROTO_IP, 11, 1)
        with socket.create_connection(port.getsockname()) as client, port.accept()[0] as inherited:
            assert client
            assert inherited.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == hostile_linger
            assert inherited.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING) != 0
        admitted: list[socket.socket] = []
        thread = threading.Thread(target=accept_at, args=(port.dup(), ours, admitted.append))
        thread.start()
        with socket.create_connection(port.getsockname()):
            eventually(lambda: admitted, "a client is admitted")
            with admitted[0] as accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)[:4] == bytes(4)
                assert accepted.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING) == 0
                assert accepted.getsockopt(socket.IPPROTO_IP, 11) == 0
        own.close()
        thread.join(SECONDS)
        assert not thread.is_alive(), "the port ends with its owner"
