"""Tunnels: every byte in order, both ways, as fast as the slower side, and no end that is forgotten."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from typing import Self

import pytest
from perstack_proxy import carriers, relay
from perstack_proxy.loop import Loop
from perstack_proxy.relay import Bounds, Ended, Relay

MIB = 1024 * 1024


class Spent:
    """A meter with so many bytes for each direction."""

    def __init__(self, up: int, down: int) -> None:
        self.bytes = {True: up, False: down}

    def left(self, *, up: bool) -> int:
        return self.bytes[up]

    def spend(self, count: int, *, up: bool) -> None:
        self.bytes[up] -= count


class Tunnelled:
    """A running loop with one tunnel, seen from both of its ends."""

    def __init__(self, bounds: Bounds = Bounds(), *, tcp: bool = False) -> None:  # noqa: B008
        self.loop = Loop()
        self.relay = Relay(self.loop)
        self.ended: list[Ended] = []
        self.done = threading.Event()
        self.client, inner_client = socket.socketpair()
        self.host, inner_host = tcp_pair() if tcp else socket.socketpair()
        self.client.settimeout(20)
        self.host.settimeout(20)
        self.relay.add(inner_client, inner_host, bounds=bounds, on_end=self._end)
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()

    def _end(self, ended: Ended) -> None:
        self.ended.append(ended)
        self.done.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call(self.relay.end_all)
        self.loop.stop()
        self.thread.join(20)
        self.loop.close()
        self.client.close()
        self.host.close()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
        return one, other


def drain(source: socket.socket) -> bytes:
    data = bytearray()
    while received := source.recv(65536):
        data += received
    return bytes(data)


@pytest.fixture(params=["splice", "copy"])
def kind(request, monkeypatch) -> str:
    if request.param == "copy":
        monkeypatch.setattr(relay, "carriers", lambda _: (carriers.Copier(), carriers.Copier()))
    return str(request.param)


@pytest.mark.parametrize("tcp", [False, True])
def test_every_byte_arrives_in_order_in_both_directions(kind, tcp):
    up, down = os.urandom(3 * MIB), os.urandom(2 * MIB)
    with Tunnelled(tcp=tcp) as tunnel:

        def send(end: socket.socket, data: bytes) -> None:
            end.sendall(data)
            end.shutdown(socket.SHUT_WR)

        senders = [threading.Thread(target=send, args=pair) for pair in ((tunnel.client, up), (tunnel.host, down))]
        received: dict[str, bytes] = {}
        reader = threading.Thread(target=lambda: received.update(up=drain(tunnel.host)))
        for thread in (*senders, reader):
            thread.start()
        received["down"] = drain(tunnel.client)
        for thread in (*senders, reader):
            thread.join(20)
        assert received["up"] == up
        assert received["down"] == down
        assert tunnel.done.wait(20)
        assert tunnel.ended == [Ended("closed", len(up), len(down))]


def test_a_half_closed_tunnel_still_carries_the_other_way(kind):
    with Tunnelled() as tunnel:
        tunnel.client.sendall(b"question")
        tunnel.client.shutdown(socket.SHUT_WR)
        assert drain(tunnel.host) == b"question"
        tunnel.host.sendall(b"answer")
        tunnel.host.close()
        assert drain(tunnel.client) == b"answer"
        assert tunnel.done.wait(20)


def test_nothing_is_read_from_one_side_that_the_other_does_not_take(kind):
    with Tunnelled() as tunnel:
        tunnel.client.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 4 * MIB:
                sent += tunnel.client.send(bytes(65536))
        assert sent < 4 * MIB
        tunnel.client.shutdown(socket.SHUT_WR)
        assert len(drain(tunnel.host)) == sent


def test_AN12_no_byte_passes_beyond_the_budget(kind):
    with Tunnelled(Bounds(meter=Spent(100_000, 10))) as tunnel:
        sender = threading.Thread(target=lambda: send_what_goes(tunnel.client, bytes(300_000)))
        sender.start()
        assert len(drain(tunnel.host)) == 100_000
        sender.join(20)
        assert tunnel.done.wait(20)
        assert tunnel.ended == [Ended("bytes", 100_000, 0)]


def send_what_goes(end: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        end.sendall(data)


@pytest.mark.parametrize(
    ("bounds", "reason"), [(Bounds(idle_seconds=0.1), "idle"), (Bounds(tunnel_seconds=0.1), "too-long")]
)
def test_AN12_a_tunnel_that_is_silent_or_old_is_ended(kind, bounds, reason):
    with Tunnelled() as control, Tunnelled(bounds) as tunnel:
        assert tunnel.client.recv(1) == b""
        assert tunnel.done.wait(20)
        assert tunnel.ended[0].reason == reason
        control.client.sendall(b"x")
        assert control.host.recv(1) == b"x"


def test_a_tunnel_whose_side_is_reset_is_ended():
    with Tunnelled(tcp=True) as tunnel:
        tunnel.host.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        tunnel.host.close()
        assert tunnel.client.recv(1) == b""
        assert tunnel.done.wait(20)
        assert tunnel.ended[0].reason == "reset"


def test_idle_tunnels_hold_no_pipes():
    with Tunnelled() as tunnel:
        tunnel.client.sendall(b"x")
        assert tunnel.host.recv(1) == b"x"
        before = len(os.listdir("/proc/self/fd"))
        more = [socket.socketpair() for _ in range(50)]
        others = [socket.socketpair() for _ in range(50)]
        opened = threading.Event()

        def add() -> None:
            for (_, client), (host, _) in zip(more, others, strict=True):
                tunnel.relay.add(client, host)
            opened.set()

        tunnel.loop.call(add)
        assert opened.wait(20)
        assert len(os.listdir("/proc/self/fd")) - before == 200
        for (client, _), (_, host) in zip(more, others, strict=True):
            client.close()
            host.close()


def test_the_forwarder_says_when_there_is_no_gate_and_goes_on(tmp_path):
    command = [sys.executable, "-m", "perstack_proxy", "forward", str(tmp_path / "gate.sock"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                assert drain(client).startswith(b"HTTP/1.1 503 ")
            with socket.socket(socket.AF_UNIX) as gate:
                gate.bind(str(tmp_path / "gate.sock"))
                gate.listen()
                with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                    client.sendall(b"CONNECT")
                    inner, _ = gate.accept()
                    with inner:
                        assert inner.recv(7) == b"CONNECT"
                        inner.sendall(b"HTTP")
                        assert client.recv(4) == b"HTTP"
        finally:
            process.kill()


def test_the_forwarder_listens_on_loopback_only(tmp_path):
    command = [sys.executable, "-m", "perstack_proxy", "forward", str(tmp_path / "gate.sock"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            port = int(process.stdout.readline())
            entry = f":{port:04X}"
            with open("/proc/net/tcp", encoding="ascii") as table:
                listening = [line.split()[1] for line in table if line.split()[1].endswith(entry)]
            assert listening == [f"0100007F{entry}"]
        finally:
            process.kill()


def test_the_forwarder_starts_without_what_costs_time():
    script = "import sys, perstack_proxy.forward; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    loaded = set(done.stdout.split())
    assert {"perstack_proxy.handover", "socket"} <= loaded
    dear = {"asyncio", "argparse", "dataclasses", "inspect", "json", "threading", "subprocess", "ctypes"}
    assert loaded & (dear | {"perstack_proxy.relay"}) == set()
