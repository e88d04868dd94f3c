"""A sandbox without a way out: what it tries arrives nowhere, and the same attempt without a sandbox does."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from perstack.proving.outside import addresses

pytestmark = pytest.mark.engine

TRY = """
import json, socket
tcp, udp, token = json.loads(%r)
result = {"connected": [], "resolved": []}
for host, port in tcp:
    try:
        with socket.create_connection((host, port), timeout=2) as client:
            client.sendall(token.encode())
            result["connected"].append(host)
    except OSError:
        pass
for host, port in udp:  # as a question to a name server, a QUIC client or any other datagram would go
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(token.encode(), (host, port))
    except OSError:
        pass
for resolver in [host for host, _ in udp] + ["127.0.0.11"]:
    try:
        socket.create_connection((resolver, 53), timeout=2).close()
        result["connected"].append(resolver + ":53")
    except OSError:
        pass
try:
    result["resolved"] = socket.getaddrinfo(token + ".invalid", 443)
except OSError:
    pass
"""


@contextmanager
def services() -> Iterator[dict[str, list[socket.socket]]]:
    """A TCP and a UDP service on every address of this machine, the engines' gateways included."""
    with ExitStack() as stack:
        found: dict[str, list[socket.socket]] = {"tcp": [], "udp": []}
        for address in (one for one in addresses() if ":" not in one):
            for kind, type_ in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
                service = stack.enter_context(socket.socket(socket.AF_INET, type_))
                service.bind((address, 0))
                service.settimeout(0.2)
                if kind == "tcp":
                    service.listen()
                found[kind].append(service)
        yield found


def heard(found: dict[str, list[socket.socket]], token: str) -> set[str]:
    """The services that got the token since they were asked last."""
    seen = set()
    for kind, each in ((kind, service) for kind, every in found.items() for service in every):
        with suppress(TimeoutError):
            while True:
                if kind == "tcp":
                    with each.accept()[0] as client:
                        data = client.recv(4096)
                else:
                    data = each.recv(4096)
                if token.encode() in data:
                    seen.add(f"{kind} {each.getsockname()[0]}")
    return seen


def test_N1_N4_T8_T10_T15_AN4_AN8_AN9_AN19_nothing_that_a_skill_sends_arrives_around_its_gate(hostile) -> None:
    with services() as found:
        places = [[service.getsockname() for service in found[kind]] for kind in ("tcp", "udp")]
        inside, outside = secrets.token_hex(8), secrets.token_hex(8)

        (seen,) = hostile.ask(TRY % json.dumps([*places, inside]))

        assert seen == {"connected": [], "resolved": []}
        assert heard(found, inside) == set()
        hostile.local(TRY % json.dumps([*places, outside]))
        everywhere = {f"{kind} {service.getsockname()[0]}" for kind, each in found.items() for service in each}
        assert heard(found, outside) == everywhere, "the control: without a sandbox every service hears it"
