r"""Squid as a second gate behind ours: its file, made of checked values only, the way through it, and its log.

The file enforces the same list again without knowing ours: CONNECT only, port 443 only, a port for each skill alone,
the name before the address, no reverse lookup, and the table of special-purpose addresses. A pattern holds letters,
digits, hyphens and dots only (`patterns.parse`), and skills are numbered, so no value can become another line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from time import monotonic
from typing import NamedTuple

from perstack_proxy.addresses import SPECIAL_RANGES, Network
from perstack_proxy.control import Policy
from perstack_proxy.dialer import (
    ADDRESS,
    UNREACHABLE,
    UNRESOLVED,
    Dialed,
    DialError,
    Resolve,
    public_addresses,
    resolve,
)
from perstack_proxy.parent import Parent, open_tunnel, refusal, status_of
from perstack_proxy.patterns import parse
from perstack_proxy.rules import PORT

SECOND_GATE = "squid"
FIRST_PORT = 3201

_MAPPED = IPv6Network("::ffff:0:0/96")
_REMEMBERED_SECONDS = 30
_CONFIG = """\
# Generated from the decided policy. It enforces the list again, on its own; a change here is lost.
visible_hostname perstack
pid_filename none
cache deny all
cache_mem 0 MB
memory_cache_shared off
shared_transient_entries_limit 0
memory_pools off
cache_log {cache_log}
cache_store_log none
coredump_dir none
logfile_rotate 0
buffered_logs off
logformat perstack %>p %>Hs %<a %<p %st %tr %Ss
access_log {log}
pinger_enable off
icp_port 0
htcp_port 0
snmp_port 0
forwarded_for delete
httpd_suppress_version_string on
shutdown_lifetime 0 seconds
client_db off
connect_timeout 5 seconds
forward_timeout 9 seconds
dns_timeout 5 seconds
# An answer is kept at least this long, so that the address that was checked is the one that is used.
negative_dns_ttl {remembered} seconds
acl CONNECT method CONNECT
acl https port {port}
{listeners}
http_access deny !CONNECT
http_access deny !https
{names}
{way}
{allows}
http_access deny all
"""


def squid_config(
    policy: Policy, *, first_port: int = FIRST_PORT, log: str | None = None, cache_log: str = "/dev/null"
) -> str:
    """The text of Squid's configuration file, which holds the password of a parent proxy that has one.

    Args:
        policy: The decided policy; the skill at place `n` comes in at `first_port + n`.
        first_port: Port on loopback of the first skill.
        log: Where Squid logs to, such as `udp://127.0.0.1:9`; None for nowhere.
        cache_log: Where it writes what it has to say of itself.
    """
    ports, names, allows = [], [], []
    for at, listener in enumerate(policy.listeners):
        ports.append(f"http_port 127.0.0.1:{first_port + at} name=skill{at}")
        ports.append(f"acl from{at} myportname skill{at}")
        names += _names(at, [str(rule.pattern) for rule in listener.rules.rules])
        allows.append(f"http_access allow from{at}")
    return _CONFIG.format(
        cache_log=cache_log,
        log="none" if log is None else f"{log} perstack",
        port=PORT,
        remembered=_REMEMBERED_SECONDS,
        listeners="\n".join(ports),
        names="\n".join(names),
        way="\n".join(_addresses_checked() if policy.parent is None else _through(policy.parent)),
        allows="\n".join(allows),
    )


def _addresses_checked() -> list[str]:
    return [*(f"acl special dst {network}" for network in special_addresses()), "http_access deny special"]


def _through(parent: Parent) -> list[str]:
    """Every connection goes to the parent, and no name is looked up: what it means is the parent's to say."""
    login = f" login={parent.login}" if parent.login else ""
    peer = f"cache_peer {parent.host} parent {parent.port} 0 no-query no-digest no-netdb-exchange default{login}"
    return [peer, "never_direct allow all", "nonhierarchical_direct off"]


def special_addresses() -> Iterable[Network]:
    """The table as Squid has to have it: no network inside another, because Squid then drops the wider one.

    The mapped block is left out, because Squid keeps every IPv4 address in it.
    """
    reserved = [IPv6Network("4000::/2"), IPv6Network("8000::/1"), *IPv6Network("::/3").address_exclude(_MAPPED)]
    listed = [network for network, _ in SPECIAL_RANGES]
    yield from collapse_addresses(network for network in listed if isinstance(network, IPv4Network))
    yield from collapse_addresses([*reserved, *(network for network in listed if isinstance(network, IPv6Network))])


def _names(at: int, patterns: Iterable[str]) -> list[str]:
    # `-n` keeps Squid from looking up the name of an address, which its owner could set to an allowed one.
    lines, found = [], ""
    for pattern in sorted({parse(text, punycode=True) for text in patterns}):  # checked again: it becomes a line
        if pattern.wildcard:
            # Not dstdomain: there `.example.com` covers example.com too.
            lines.append(f"acl below{at} dstdom_regex -n -i ^([a-z0-9-]+\\.)+{re.escape(pattern.host)}$")
        else:
            lines.append(f"acl exact{at} dstdomain -n {pattern.host}")
    for kind in ("exact", "below"):
        if any(line.startswith(f"acl {kind}{at} ") for line in lines):
            found += f" !{kind}{at}"
    return [*lines, f"http_access deny from{at}{found}"]


class SquidDialer:
    """Connects through one skill's port of Squid. Both resolve and check the host's addresses, each for itself.

    With a parent proxy neither does.
    """

    def __init__(self, port: int, *, resolve: Resolve = resolve, parent: Parent | None = None) -> None:
        self._port = port
        self._resolve = resolve
        self._parent = parent
        self._checked: dict[str, tuple[float, tuple[str, ...]]] = {}

    def dial(self, host: str, port: int, *, seconds: float) -> Dialed:
        """A connection that Squid agreed to."""
        addresses = () if self._parent else self._public_addresses(host)
        found, head = open_tunnel(("127.0.0.1", self._port), host, port, seconds=seconds, name="Squid")
        if (status := status_of(head)) == 200:
            return Dialed(found, " ".join(addresses), f"{SECOND_GATE}:{found.getsockname()[1]}")
        found.close()
        if self._parent:
            raise refusal(host, status)
        raise _refusal(head, status, host)

    def _public_addresses(self, host: str) -> tuple[str, ...]:
        """Our own check, remembered as long as Squid remembers its own; nothing is connected to by it."""
        until, addresses = self._checked.get(host, (0.0, ()))
        if monotonic() > until:
            addresses = public_addresses(host, self._resolve)
            self._checked[host] = monotonic() + _REMEMBERED_SECONDS, addresses
        return addresses


def _refusal(head: bytes, status: int, host: str) -> DialError:
    if status == 403:
        return DialError(ADDRESS, f"{host!r} leads to an address that Squid refuses", status=403)
    if b"ERR_DNS_FAIL" in head:
        return DialError(UNRESOLVED, f"{host!r} has no address", status=502)
    return DialError(UNREACHABLE, f"{host!r} does not answer", status=502)


class SquidLine(NamedTuple):
    """What Squid says of one connection after its end.

    Attributes:
        via: How the gate's record calls the connection.
        status: The HTTP status that Squid answered with.
        address: Where it connected to; empty for nowhere.
        bytes: Bytes both ways.
        milliseconds: Time from request to end.
        tag: Squid's own word for what it did.
    """

    via: str
    status: int
    address: str
    bytes: int
    milliseconds: int
    tag: str


_LINE = re.compile(r"([0-9]{1,5}) ([0-9]{3}) (-|[0-9a-f.:]+) (?:-|[0-9]+) ([0-9]+) ([0-9]+) ([A-Z_]+)")


def read_log(line: str) -> SquidLine | None:
    """The line of Squid's log, or None for anything else. No field of it can hold what a client wrote."""
    match = _LINE.fullmatch(line.strip())
    if match is None:
        return None
    address = "" if match[3] == "-" else match[3]
    return SquidLine(f"{SECOND_GATE}:{match[1]}", int(match[2]), address, int(match[4]), int(match[5]), match[6])
