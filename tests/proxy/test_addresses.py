"""Which addresses are public, and what the others are called."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack_proxy.addresses import SPECIAL_RANGES, special_purpose

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]
SPECIAL = """
    0.0.0.0 0.255.0.1 100.64.0.1 100.127.255.255 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.1
    203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::2 ::8.8.8.8 64:ff9b::808:808 64:ff9b:1::808:808
    100::1 2001::1 2001:db8::1 2001:20::1 2002:808:808::1 3fff::1 4000::1 5f00::1 fec0::1 feff::1 ff02::1 ffff::1
"""


@pytest.mark.parametrize(
    ("row", "name", "addresses"),
    [
        ("N8", "private", ["10.0.0.0", "10.255.255.255"]),
        ("N9", "private", ["172.16.0.1", "172.31.255.254"]),
        ("N10", "private", ["192.168.0.0", "192.168.255.255"]),
        ("N11", "loopback", ["127.0.0.1", "127.255.255.254"]),
        ("N12", "link-local", ["169.254.0.1", "169.254.255.255"]),
        ("N12", "cloud metadata", ["169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16"]),
        ("N13", "loopback", ["::1"]),
        ("N14", "link-local", ["fe80::1", "febf::ffff", "fe80::1%eth0"]),
        ("N15", "unique local", ["fc00::1", "fdff::1"]),
        ("N15", "cloud metadata", ["fd00:ec2::254"]),
    ],
)
def test_N8_to_N15_the_ranges_of_the_requirement_are_known_by_name(row, name, addresses):
    assert [special_purpose(address) for address in PUBLIC] == [None] * len(PUBLIC)
    assert {special_purpose(address) for address in addresses} == {name}


@pytest.mark.parametrize(
    "address",
    SPECIAL.split(),
)
def test_AN5_everything_else_that_is_not_global_unicast_is_special(address):
    assert special_purpose(address) is not None


def test_AN5_a_mapped_address_is_the_address_that_it_means():
    assert special_purpose("::ffff:8.8.8.8") is None
    assert special_purpose("::ffff:10.0.0.1") == "private"
    assert special_purpose("::ffff:a9fe:a9fe") == "cloud metadata"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("2002:0a00:0001::1", "6to4 for 10.0.0.1, private"),
        ("2002:0808:0808::1", "6to4 for 8.8.8.8"),
        ("64:ff9b::a9fe:a9fe", "NAT64 for 169.254.169.254, cloud metadata"),
        ("64:ff9b:1::7f00:1", "NAT64 for 127.0.0.1, loopback"),
        ("2001:0:808:808::f5ff:fffe", "Teredo for 10.0.0.1, private"),
    ],
)
def test_AS11_transition_forms_are_special_and_say_what_they_carry(address, reason):
    assert special_purpose(address) == reason


def test_a_narrower_range_stands_before_the_one_that_holds_it():
    for position, (network, _) in enumerate(SPECIAL_RANGES):
        for other, _ in SPECIAL_RANGES[position + 1 :]:
            assert network.version != other.version or not other.subnet_of(network) or network == other  # type: ignore[arg-type]


@given(st.ip_addresses(v=4))
def test_every_ipv4_address_has_the_verdict_of_its_mapped_form(address):
    assert special_purpose(address) == special_purpose(IPv6Address(0xFFFF_0000_0000 + int(address)))


@given(st.ip_addresses())
def test_no_address_is_public_that_the_standard_library_calls_special(address):
    found = ip_address(address)
    if special_purpose(found) is None:
        inner = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        checked: IPv4Address | IPv6Address = inner or found
        assert checked.is_global
        assert not checked.is_multicast


@given(st.sampled_from(SPECIAL_RANGES), st.integers(min_value=0))
def test_every_address_of_a_listed_range_is_special(listed, number):
    assert special_purpose(listed.network[number % listed.network.num_addresses]) is not None
