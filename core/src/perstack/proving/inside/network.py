"""Attacks on a sandbox's network: around the forwarder, and through it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from urllib.parse import urlsplit

Json = dict[str, object]

SECONDS = 2.0
DISCARD = 9


def network(services: list[tuple[str, int]], udp: list[tuple[str, int]], abstract: str, mark: str) -> Json:
    """Which devices and routes there are, and who could be reached.

    Args:
        services: Addresses and ports of the host that answer to whoever reaches them.
        udp: The same, for datagrams.
        abstract: A unix socket without a file, which network namespaces keep apart.
        mark: What is sent to each of them.
    """
    return {
        "devices": [device for device in sorted(os.listdir("/sys/class/net")) if device != "lo" and _is_up(device)],
        "routes": _routes(),
        "reached": [*_connected(services, mark), *_abstract(abstract, mark)],
        "sent": _sent(udp, mark),
        "tried": len(services) + len(udp) + 1,
    }


def names(name: str) -> Json:
    """Addresses that somebody gave for a host name that nobody may be asked for."""
    with suppress(OSError):
        return {"resolved": sorted({str(found[4][0]) for found in socket.getaddrinfo(name, 443)})}
    return {"resolved": []}


def private_addresses(addresses: list[str]) -> Json:
    """To which of these addresses the kernel knows a way. Nothing is sent: a datagram socket only asks for a route."""
    found = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as client:
            client.connect((address, DISCARD))
            found.append(address)
    return {"tried": len(addresses), "routed": found}


def forwarder(requests: dict[str, str]) -> Json:
    """The first line of the forwarder's answer to each request; empty where it hung up or there is none."""
    proxy = urlsplit(os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or "")
    answers = {}
    for name, request in requests.items():
        answers[name] = ""
        with suppress(OSError), socket.create_connection((proxy.hostname or "", proxy.port or 0), SECONDS) as client:
            client.sendall(request.encode("latin-1"))
            client.settimeout(SECONDS)
            answers[name] = client.recv(4096).split(b"\r\n", 1)[0].decode("latin-1")
    return {"proxy": proxy.netloc, "answers": answers}


def _is_up(device: str) -> bool:
    with suppress(OSError), open(f"/sys/class/net/{device}/flags", encoding="ascii") as file:
        return bool(int(file.read(), 16) & 1)
    return True


def _routes() -> list[str]:
    """Routes that lead out of this machine's own loopback."""
    found = []
    with suppress(OSError), open("/proc/net/route", encoding="ascii") as file:
        found += [line.split()[0] for line in file.read().splitlines()[1:] if line.split()]
    with suppress(OSError), open("/proc/net/ipv6_route", encoding="ascii") as file:
        found += [line.split()[-1] for line in file.read().splitlines() if line.split()]
    return sorted({device for device in found if device != "lo"})


def _connected(services: list[tuple[str, int]], mark: str) -> list[str]:
    reached = []
    for host, port in services:
        with suppress(OSError), socket.create_connection((host, port), SECONDS) as client:
            client.sendall(mark.encode())
            reached.append(f"{host} port {port}")
    return reached


def _abstract(name: str, mark: str) -> list[str]:
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(SECONDS)
        client.connect(f"\0{name}")
        client.sendall(mark.encode())
        return ["a unix socket without a file"]
    return []


def _sent(services: list[tuple[str, int]], mark: str) -> list[str]:
    sent = []
    for host, port in services:
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(mark.encode(), (host, port))
            sent.append(f"{host} port {port}")
    return sent
