"""Whether a request goes through the proxy that the environment names."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from perstack.errors import ConfigError, Problem
from perstack.outbound.grants import is_loopback
from perstack.specs import Proxy


def proxy_of(url: str, proxy: Proxy | None) -> str | None:
    """The proxy's URL for requests to `url`, or None for a direct connection. This machine is always direct.

    Raises:
        ConfigError: The request has to go through a proxy, and there is none that can be used. Its URL is not shown.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if proxy is None or is_loopback(host):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return None if any(_excepts(entry, host, port) for entry in proxy.bypass) else _usable(proxy)


def _usable(proxy: Proxy) -> str:
    try:
        parts = urlsplit(proxy.url)
        fit = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        fit = False
    if not fit:
        problem = Problem(
            message=f"{proxy.variable} names no proxy that can be used.",
            hint="Write http://HOST:PORT or https://HOST:PORT; SOCKS is not spoken. Or except hosts with NO_PROXY.",
        )
        raise ConfigError([problem])
    return proxy.url


def _excepts(entry: str, host: str, port: int) -> bool:
    """Whether an entry of ``NO_PROXY`` means `host`: all, a name with its subdomains, an address, or a network."""
    if entry == "*":
        return True
    network = _network(entry.strip("[]"))
    if network is not None:
        try:
            return ipaddress.ip_address(host) in network
        except ValueError:
            return False
    name, _, wanted = entry.lower().partition(":")
    if wanted and wanted != str(port):
        return False
    name = name.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
