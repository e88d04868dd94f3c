"""Which places perstack itself may connect to, as values: the text of a grant, and the one that covers a URL."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from perstack_proxy.patterns import PatternError, normalise, parse

from perstack.specs import HostGrant

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_PORTS = {"https": 443, "http": 80}


def parse_grant(text: str, *, private: bool = False, origin: str = "") -> HostGrant:
    """The grant of a host, of a `*.` pattern, or of an origin such as ``http://localhost:11434``.

    Raises:
        ValueError: The text is none of them; completes "the host …".
    """
    if "://" not in text:
        return HostGrant(host=_host(text), private=private, origin=origin)
    parts = urlsplit(text)
    port = _PORTS.get(parts.scheme)
    if port is None or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{text!r} is no host and no origin such as https://models.example.com:8443")
    return HostGrant(
        host=_host(parts.hostname or ""),
        port=parts.port or port,
        tls=parts.scheme == "https",
        private=private,
        origin=origin,
    )


def origin_of(url: str) -> str:
    """The text of the grant that covers `url` and nothing else: the host alone where it is https on port 443."""
    parts = urlsplit(url)
    host = normalise(parts.hostname or "")
    port = parts.port or _PORTS.get(parts.scheme, 0)
    if (parts.scheme, port) == ("https", 443):
        return host
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{port}"


def covering(grants: Sequence[HostGrant], *, scheme: str, host: str, port: int) -> HostGrant | None:
    """The grant for a connection; an exact one before a pattern, because it says more."""
    host = normalise(host)
    fitting = [grant for grant in grants if grant.port == port and grant.tls == (scheme == "https")]
    found = [grant for grant in fitting if grant.host == host]
    found += [grant for grant in fitting if grant.host.startswith("*.") and host.endswith(grant.host[1:])]
    return found[0] if found else None


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine and nothing else."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(text: str) -> str:
    host = normalise(text)
    if host.startswith("*."):
        try:
            return str(parse(host, punycode=True))
        except PatternError as error:
            raise ValueError(f"{text!r} {error.reason}") from None
    if not _is_address(host) and not (len(host) <= 253 and _NAME.fullmatch(host)):
        raise ValueError(f"{text!r} is no host's name")
    return host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
