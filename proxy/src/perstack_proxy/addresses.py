"""Which addresses are not the public internet: one table, with a name for each range.

An address is public when no range of the table holds it, when the standard library's registry of special-purpose
addresses calls it global, and, for IPv6, when it is in the block from which global unicast is assigned. An IPv4-mapped
address is its IPv4 address. The other forms that carry an IPv4 address (6to4, Teredo, NAT64) lead somewhere that this
table cannot see, so they are refused, and the reason names what they carry.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class SpecialRange(NamedTuple):
    """Addresses with a purpose of their own, and what that purpose is called."""

    network: Network
    name: str


_TABLE = """
    10.0.0.0/8 private
    172.16.0.0/12 private
    192.168.0.0/16 private
    127.0.0.0/8 loopback
    169.254.169.254/32 cloud metadata
    169.254.0.0/16 link-local
    ::1/128 loopback
    fe80::/10 link-local
    fd00:ec2::254/128 cloud metadata
    fc00::/7 unique local
    0.0.0.0/8 this network
    100.100.100.200/32 cloud metadata
    100.64.0.0/10 shared by carriers
    192.0.0.192/32 cloud metadata
    192.0.0.0/24 protocol assignments
    192.0.2.0/24 documentation
    192.31.196.0/24 AS112
    192.52.193.0/24 relays
    192.88.99.0/24 6to4 relays
    192.175.48.0/24 AS112
    198.18.0.0/15 benchmarks
    198.51.100.0/24 documentation
    203.0.113.0/24 documentation
    168.63.129.16/32 cloud metadata
    224.0.0.0/4 multicast
    255.255.255.255/32 broadcast
    240.0.0.0/4 reserved
    ::/128 unspecified
    64:ff9b::/96 NAT64
    64:ff9b:1::/48 NAT64
    100::/64 discard
    2001::/32 Teredo
    2001:db8::/32 documentation
    2001::/23 protocol assignments
    2002::/16 6to4
    2620:4f:8000::/48 AS112
    3fff::/20 documentation
    5f00::/16 segment routing
    fec0::/10 site-local
    ff00::/8 multicast
"""


def _range(line: str) -> SpecialRange:
    network, name = line.split(maxsplit=1)
    return SpecialRange(IPv6Network(network) if ":" in network else IPv4Network(network), name)


#: The ranges by name, a narrower one before the wider one that holds it. The requirement's are the first ten lines.
SPECIAL_RANGES: tuple[SpecialRange, ...] = tuple(_range(line) for line in _TABLE.strip().splitlines())
#: Where the registries assign global unicast from; the rest of IPv6 is reserved.
GLOBAL_UNICAST = IPv6Network("2000::/3")

_NAT64 = tuple(IPv6Network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48"))


@lru_cache(maxsize=4096)
def special_purpose(address: Address | str) -> str | None:
    """Why nothing may connect to the address, such as `private` or `6to4 for 10.0.0.1, private`; None if it is public.

    Raises:
        ValueError: A text that is no address. One with a zone (`fe80::1%eth0`) is an address.
    """
    found = unmapped(ip_address(address) if isinstance(address, str) else address)
    name = next((name for network, name in SPECIAL_RANGES if found in network), None)
    if name is None and isinstance(found, IPv6Address) and found not in GLOBAL_UNICAST:
        name = "reserved"
    if name is None and not found.is_global:
        name = "not global"
    inner = _carried(found)
    if name is None or inner is None:
        return name
    purpose = special_purpose(inner)
    return f"{name} for {inner}" if purpose is None else f"{name} for {inner}, {purpose}"


def unmapped(address: Address) -> Address:
    """The IPv4 address that an IPv4-mapped one means; any other address unchanged."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _carried(address: Address) -> IPv4Address | None:
    """The IPv4 address inside a transition address: of 6to4 the router, of Teredo the client, of NAT64 the target."""
    if isinstance(address, IPv4Address):
        return None
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None
