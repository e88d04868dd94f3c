"""What one skill asks for, and what every way through the gate must answer: the corpus of the differential test."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from perstack.testing.fnet.internet import Internet
from perstack.testing.waiting import eventually

API = "api.example.com"
BELOW = "*.wild.example.com"
PUBLIC = "93.184.216.34"
DOMAINS = (API, BELOW)


Ask = Callable[[], socket.socket]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request, where its name leads, and whether it may pass.

    Attributes:
        target: Host and port of the CONNECT.
        addresses: What the name server says.
        passes: Whether a tunnel is opened.
        name_only: The verdict comes from the name or the port, so nothing may be looked up.
    """

    target: str
    addresses: tuple[str, ...] = (PUBLIC,)
    passes: bool = False
    name_only: bool = False

    @property
    def host(self) -> str:
        return self.target.rpartition(":")[0]


_NAMES = f"""
    evil.example.org example.com wild.example.com xwild.example.com a.{API} {API}.evil.example.org xapi.example.com
    api-example.com localhost 93.184.216.34 1572395042 0x5db8d822 127.0.0.1 127.1 0 [::1] [::ffff:93.184.216.34]
"""
_PORTS = (80, 22, 8443)
_SPECIAL = """
    10.0.0.1 172.16.0.1 172.31.255.254 192.168.1.1 127.0.0.1 127.255.255.254 169.254.169.254 100.100.100.200 0.0.0.0
    100.64.0.1 192.0.0.192 192.88.99.1 198.18.0.1 198.51.100.1 168.63.129.16 224.0.0.1 240.0.0.1 255.255.255.255
    ::1 :: fe80::1 fc00::1 fd00:ec2::254 64:ff9b::808:808 64:ff9b:1::a00:1 2001::1 2001:db8::1 2002:a00:1::1 3fff::1
    4000::1 5f00::1 fec0::1 ff02::1 ::7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 100::1 1fff::1 ffff::1
"""


def cases() -> list[Case]:
    """The whole corpus. Names below the wildcard are all different, so that no answer is remembered."""
    found = [Case(target=f"{name}:443", name_only=True) for name in _NAMES.split()]
    found += [Case(target=f"{API}:{port}", name_only=True) for port in _PORTS]
    found += [Case(target=f"s{at}.wild.example.com:443", addresses=(text,)) for at, text in enumerate(_SPECIAL.split())]
    found += [
        Case(target=f"m{at}.wild.example.com:443", addresses=(PUBLIC, text)) for at, text in enumerate(_SPECIAL.split())
    ]
    found += [
        Case(target=f"{API}:443", passes=True),
        Case(target="API.Example.Com:443", passes=True),
        Case(target=f"{API}.:443", passes=True),
        Case(target="ok.wild.example.com:443", passes=True),
        Case(target="a.b.wild.example.com:443", passes=True),
        Case(target="mapped.wild.example.com:443", addresses=(f"::ffff:{PUBLIC}",), passes=True),
        Case(target="six.wild.example.com:443", addresses=("2606:2800:220:1::1",), passes=True),
        Case(target="both.wild.example.com:443", addresses=(PUBLIC, "2606:2800:220:1::1"), passes=True),
        Case(target="nowhere.wild.example.com:443", addresses=()),
    ]
    return found


CORPUS = cases()
EXPECTED = {f"{case.target} {case.addresses}": case.passes for case in CORPUS}


def publish(internet: Internet) -> None:
    """The internet that the corpus speaks of."""
    for address in ("2606:2800:220:1::1", "10.0.0.1"):
        internet.serve(address)
    for case in CORPUS:
        if case.host.endswith(".wild.example.com"):
            internet.name(case.host, case.addresses)


def verdict(connect: Ask, case: Case, internet: Internet) -> bool:
    """Whether a tunnel was opened. If so, its server has the connection, so that no later case is blamed for it."""
    before = len(internet.arrivals)
    with connect() as client:
        client.settimeout(15)
        client.sendall(f"CONNECT {case.target} HTTP/1.1\r\nHost: {case.target}\r\n\r\n".encode())
        opened = client.recv(65536).startswith(b"HTTP/1.1 200 ")
        if opened:
            eventually(lambda: len(internet.arrivals) > before, f"the tunnel for {case} leads somewhere")
    return opened


def verdicts(connect: Ask, internet: Internet) -> dict[str, bool]:
    """The verdict on every case; what is denied by its name is not looked up either."""
    found = {}
    for case in CORPUS:
        internet.forget()
        found[f"{case.target} {case.addresses}"] = verdict(connect, case, internet)
        if case.name_only:
            assert internet.queries == [], case
        if not case.passes:
            assert internet.arrivals == [], case
    return found
