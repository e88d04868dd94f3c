"""A gate between skills that play the attacker and a fake internet that keeps the evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from gates import GateProcess, SkillEntry, forwarder, gate, get, squid_program
from perstack.testing.fnet.internet import Internet
from perstack.testing.fnet.namespace import Namespace

API = "api.example.com"
OTHER = "api.example.net"
BELOW = "*.wild.example.com"
EVIL = "evil.example.org"
ADDRESSES = {API: "93.184.216.34", OTHER: "93.184.216.35", EVIL: "93.184.216.66"}
WILD = "93.184.216.36"
#: An allowed name without addresses of its own: each test says where it leads.
MOVING = "moving.example.com"

SKILLS = (
    SkillEntry(name="one", domains=[API, MOVING, BELOW]),
    SkillEntry(name="two", domains=[OTHER]),
    SkillEntry(name="none"),
)


@dataclass(frozen=True, kw_only=True)
class Egress:
    """A running gate, and the internet that it leads to."""

    internet: Internet
    gate: GateProcess
    way: str

    def socket(self, skill: str = "one") -> str:
        return self.gate.socket(skill)

    def works(self, host: str = API, skill: str = "one") -> bool:
        """The positive control: an allowed page arrives from its server, and nothing has reached the unlisted one."""
        body = get(self.socket(skill), host, self.internet.authority)
        names = {arrival.server_name for arrival in self.internet.arrivals}
        addresses = {arrival.address for arrival in self.internet.arrivals}
        unlisted = EVIL in names or ADDRESSES[EVIL] in addresses
        return body == b"hello" and host in names and not unlisted

    def untouched(self, *hosts: str) -> bool:
        """No server has a connection, and none of the names was looked up."""
        return self.internet.arrivals == [] and not self.internet.asked() & set(hosts)


@pytest.fixture(scope="session")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    names = [*ADDRESSES, MOVING, "wild.example.com", BELOW, "*.example.com"]
    with Internet(tmp_path_factory.mktemp("fnet"), names=names) as made:
        for name, address in ADDRESSES.items():
            made.site(name, address)
        made.name(BELOW, [WILD])
        made.name("wild.example.com", [WILD])
        made.serve(WILD)
        yield made


@pytest.fixture(scope="session")
def squid() -> str:
    """Squid's program, installed if it is missing."""
    return squid_program()


@pytest.fixture(scope="module", params=["direct", "squid"])
def running(request, internet, squid) -> Iterator[Egress]:
    with gate(internet, *SKILLS, way=request.param) as started:
        yield Egress(internet=internet, gate=started, way=request.param)


@pytest.fixture
def egress(running: Egress) -> Egress:
    """The gate of this module, with no evidence of earlier tests."""
    running.gate.forget()
    running.internet.forget()
    return running


@pytest.fixture
def sandbox(tmp_path) -> Iterator[Namespace]:
    """A namespace as a skill has it: loopback, and nothing behind it."""
    with Namespace(tmp_path) as made:
        yield made


@pytest.fixture
def proxy(sandbox: Namespace, egress: Egress) -> Iterator[str]:
    """The URL of a forwarder in the sandbox, which leads to the gate as skill `one`."""
    with forwarder(sandbox, egress.socket()) as url:
        yield url
