"""Where an allowed name may lead: to public addresses, all of them, and to the one that was checked."""

from __future__ import annotations

import itertools
import subprocess

import pytest
from gates import connect, dial, get
from perstack.testing.fnet.internet import Internet
from perstack.testing.waiting import eventually

MOVING = "moving.example.com"
PUBLIC = "93.184.216.34"
WILD = "93.184.216.36"
REQUIRED = {
    "N8": ["10.0.0.1", "10.255.255.255"],
    "N9": ["172.16.0.1", "172.31.255.254"],
    "N10": ["192.168.0.1"],
    "N11": ["127.0.0.1", "127.255.255.254"],
    "N12": ["169.254.169.254", "169.254.0.1"],
    "N13": ["::1"],
    "N14": ["fe80::1"],
    "N15": ["fd00:ec2::254", "fc00::1"],
}
HOLES = """
    0.0.0.0 100.64.0.1 192.0.0.8 192.88.99.1 198.18.0.1 198.51.100.1 224.0.0.1 240.0.0.1 255.255.255.255 :: 100::1
    64:ff9b::808:808 64:ff9b:1::a00:1 2001::1 2001:db8::1 2002:a00:1::1 3fff::1 4000::1 5f00::1 fec0::1 ff02::1 ::7f00:1
"""
METADATA = ["169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "64:ff9b::a9fe:a9fe"]


def listen(internet: Internet, address: str) -> bool:
    """Something waits at the address, so that a connection there would be seen; False where nothing can."""
    try:
        internet.serve(address)
        return True
    except (OSError, subprocess.CalledProcessError):
        return False


@pytest.mark.parametrize(
    ("row", "address"), [(row, address) for row, addresses in REQUIRED.items() for address in addresses]
)
def test_N8_to_N15_an_allowed_name_does_not_lead_to_a_private_address(egress, row, address):
    listen(egress.internet, address)
    egress.internet.name(MOVING, [address])
    answer = connect(egress.socket(), f"{MOVING}:443")
    assert (answer.status, answer.body["code"]) == (403, "address")
    assert egress.internet.arrivals == []
    assert egress.gate.wait_for("deny", 1)[0]["verdict"] == "address"
    egress.internet.name(MOVING, [PUBLIC])
    assert egress.way == "squid" or egress.works(MOVING)  # Squid remembers the answer for half a minute
    assert egress.works()


def test_the_servers_at_private_addresses_would_be_seen(internet):
    internet.forget()
    for address in ("10.0.0.1", "127.0.0.1", "fd00:ec2::254", "169.254.169.254"):
        listen(internet, address)
        internet.connect(address).close()
    eventually(lambda: len(internet.arrivals) == 4, "each has its connection on record")


@pytest.mark.parametrize("address", [*HOLES.split(), *METADATA])
def test_AN5_and_AS11_nor_to_any_other_address_that_is_not_public(egress, address):
    egress.internet.name(MOVING, [address])
    answer = connect(egress.socket(), f"{MOVING}:443")
    assert (answer.status, answer.body["code"]) == (403, "address")
    assert egress.internet.arrivals == []
    assert egress.works()


def test_N16_one_private_address_among_public_ones_denies_the_name(egress):
    for addresses in ([PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, "::1"], [PUBLIC, "fd00::1"]):
        egress.internet.name(MOVING, addresses)
        assert connect(egress.socket(), f"{MOVING}:443").body["code"] == "address"
    assert egress.internet.arrivals == []
    assert egress.works()


def test_N16_and_AN14_answers_that_flip_never_lead_to_a_private_address(egress):
    listen(egress.internet, "10.0.0.1")
    flips = itertools.cycle([[PUBLIC], ["10.0.0.1"], [PUBLIC], [PUBLIC], ["10.0.0.1"]])
    egress.internet.name(MOVING, lambda: next(flips))
    path = egress.socket()
    outcomes = {200: 0, 403: 0}
    for _ in range(200):
        outcomes[_status(path)] += 1
    assert {arrival.address for arrival in egress.internet.arrivals} <= {PUBLIC}
    if egress.way == "direct":  # Squid and the gate before it remember the first answer
        assert outcomes[403] > 0
    assert outcomes[200] > 0
    assert get(path, "api.example.com", egress.internet.authority) == b"hello"


def test_AN14_a_name_is_looked_up_once_and_the_checked_address_is_used(egress):
    fresh = f"{egress.way}.wild.example.com"  # Squid remembers what other tests asked
    assert egress.works(fresh)
    each = ["A", "AAAA"]
    assert [query.type for query in egress.internet.queries] == (each if egress.way == "direct" else each * 2)
    assert egress.gate.wait_for("open", 1)[0]["address"] == WILD


def test_a_name_without_an_address_is_an_answer_and_not_a_hang(egress):
    egress.internet.name("nowhere.wild.example.com", [])
    answer = connect(egress.socket(), "nowhere.wild.example.com:443")
    assert (answer.status, answer.body["code"]) == (502, "unresolved")
    assert egress.works()


def test_a_host_that_refuses_is_an_answer_and_not_a_hang(egress):
    egress.internet.namespace.run("ip", "addr", "replace", "93.184.216.99/32", "dev", "lo")
    egress.internet.name("gone.wild.example.com", ["93.184.216.99"])
    answer = connect(egress.socket(), "gone.wild.example.com:443")
    assert (answer.status, answer.body["code"]) == (502, "unreachable")
    assert egress.works()


def _status(path: str) -> int:
    with dial(path) as client:
        client.sendall(f"CONNECT {MOVING}:443 HTTP/1.1\r\n\r\n".encode())
        return int(client.recv(65536).split()[1])
