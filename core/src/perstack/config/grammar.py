"""The grammars of names in a configuration; each function returns the value or says what is wrong with it.

A refused value is a `ValueError` whose message completes a sentence that starts with the value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, urlsplit

from perstack_proxy import envnames, patterns
from perstack_proxy.sanitise import sanitise, sanitise_line

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_NAME = r"[a-z0-9][a-z0-9_.-]*"
_NUMBER = r"(?:0|[1-9][0-9]*)"
_SUFFIX = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_SUFFIX})?(?:\+{_SUFFIX})?"
VERSION = re.compile(_VERSION)
EXPERT_KEY = re.compile(rf"(?P<name>(?:@{_NAME}/)?{_NAME})(?:@(?:(?P<version>{_VERSION})|(?P<tag>{_NAME})))?")
TAG = re.compile(r"[a-z0-9][a-z0-9_-]*")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
NETWORK = re.compile(r"(?:container:)?[A-Za-z0-9][A-Za-z0-9_.-]*")
IMAGE = re.compile(r"[a-z0-9][a-z0-9._/:-]*(?:@sha256:[0-9a-f]{64})?", re.IGNORECASE)
URL = re.compile(r"[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]+")
SIZE = re.compile(r"([1-9][0-9]{0,8})(MiB|GiB)")

EXPERT_KEY_CHARACTERS = 511
NAME_CHARACTERS = 255

_BYTES = {"MiB": 1024**2, "GiB": 1024**3}


class ExpertKey(NamedTuple):
    """The parts of an Expert key: ``[@scope/]name[@version|@tag]``."""

    name: str
    version: str | None = None
    tag: str | None = None


def parse_expert_key(key: str) -> ExpertKey:
    """The parts of an Expert key.

    Raises:
        ValueError: The key is not in the grammar.
    """
    match = EXPERT_KEY.fullmatch(key) if len(key) <= EXPERT_KEY_CHARACTERS else None
    if match is None:
        raise ValueError("is not an Expert key: write [@scope/]name, in lower-case letters, digits, '.', '_' and '-'")
    return ExpertKey(match["name"], match["version"], match["tag"])


def expert_key(key: str) -> str:
    """A key of `experts`, or of one that is delegated to."""
    parse_expert_key(key)
    return key


def version(text: str) -> str:
    """A semantic version."""
    if not VERSION.fullmatch(text):
        raise ValueError("is not a version: write MAJOR.MINOR.PATCH")
    return text


def tag(text: str) -> str:
    """A tag of an Expert."""
    if len(text) > NAME_CHARACTERS or not TAG.fullmatch(text):
        raise ValueError("is not a tag: lower-case letters, digits, '_' and '-'")
    return text


def line(text: str) -> str:
    """A text that is shown and passed on as exactly one line, with nothing in it that cannot be seen."""
    if sanitise_line(text, limit=len(text)) != text:
        raise ValueError("has a line break, a control character or an invisible one")
    return text


def prose(text: str) -> str:
    """A text of several lines, with nothing in it that cannot be seen."""
    if sanitise(text, limit=len(text)) != text:
        raise ValueError("has a control character or an invisible one")
    return text


def name(text: str) -> str:
    """The name of a skill or a tool: it stands in messages, labels and option values."""
    if not 0 < len(text) <= NAME_CHARACTERS:
        raise ValueError(f"is empty or longer than {NAME_CHARACTERS} characters")
    if text.strip() != text or text.startswith("-"):
        raise ValueError("starts with a hyphen, or starts or ends with a space")
    return line(text)


def env_name(text: str) -> str:
    """A name that a skill may ask for: portable and not protected."""
    env_source(text)
    reason = envnames.protected_reason(text)
    if reason:
        raise ValueError(f"is a protected name: it {reason}")
    return text


def env_source(text: str) -> str:
    """The name of a variable."""
    if not envnames.is_valid_name(text):
        raise ValueError("is not a variable's name: letters, digits and '_', no digit first")
    return text


def egress_network(text: str) -> str:
    """An engine's network that the egress container may join: its name, or ``container:NAME`` for that container's."""
    if len(text) > NAME_CHARACTERS or not NETWORK.fullmatch(text):
        raise ValueError("is not a network: write its NAME, or container:NAME")
    if text in ("host", "none"):
        raise ValueError("would put the egress container on this machine's own network, or on none")
    return text


def ip_address(text: str) -> str:
    """An address without a zone, in its one spelling."""
    import ipaddress

    try:
        return str(ipaddress.ip_address("" if "%" in text else text))
    except ValueError:
        raise ValueError("is not an address") from None


def parent_proxy(text: str) -> str:
    """The URL of a proxy that leads out of this network; it may hold a password, so it is not repeated."""
    from perstack_proxy.parent import parse_parent

    parse_parent(line(text))
    return text


def image(text: str) -> str:
    """A reference to a container image."""
    if len(text) > NAME_CHARACTERS or not IMAGE.fullmatch(text):
        raise ValueError("is not a reference to an image: write NAME:TAG or NAME@sha256:DIGEST")
    return text


def size(text: str) -> str:
    """A number of bytes such as ``512MiB``."""
    size_bytes(text)
    return text


def size_bytes(text: str) -> int:
    """The bytes of a size.

    Raises:
        ValueError: It is none.
    """
    match = SIZE.fullmatch(text)
    if match is None:
        raise ValueError("is not a size: write a number with MiB or GiB, such as '512MiB'")
    return int(match[1]) * _BYTES[match[2]]


def domain(text: str, *, punycode: bool) -> str:
    """A pattern of `allowedDomains`, in the spelling that is compared."""
    try:
        return str(patterns.parse(text, punycode=punycode))
    except patterns.PatternError as error:
        raise ValueError(error.reason) from None


def https_url(text: str) -> str:
    """An https URL with a host and without credentials."""
    if _split(text).scheme != "https":
        raise ValueError("does not start with https://")
    return text


def model_url(text: str) -> str:
    """A base URL of a model provider: https, or plain http to this machine."""
    parts = _split(text)
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return text
    return https_url(text)


def origin(text: str) -> str:
    """The beginning of URLs of one server: its scheme, its host, and its port where that is another one."""
    from perstack.outbound.grants import parse_grant

    parts = _split(text)
    try:
        host = parse_grant(text).host
    except ValueError:
        raise ValueError(f"is not an origin: write {parts.scheme}://{parts.netloc}") from None
    if host.startswith("*"):
        raise ValueError("is not one origin: name each host by itself")
    return text


def public_url(text: str) -> str:
    """An https URL whose host is no private address; names are checked again when they are resolved."""
    from perstack_proxy.addresses import special_purpose

    https_url(text)
    host = (_split(text).hostname or "").removesuffix(".")
    address = _address(host)
    purpose = special_purpose(address) if address is not None else None
    if purpose is not None:
        raise ValueError(f"names an address that is not public: {purpose}")
    if host == "localhost" or host.endswith(".localhost"):
        raise ValueError("names this machine")
    return text


def url_domain(url: str) -> str | None:
    """The host of a URL as a domain pattern; None for an address."""
    try:
        return domain((_split(url).hostname or "").removesuffix("."), punycode=True)
    except ValueError:
        return None


def _split(text: str) -> SplitResult:
    line(text)
    if not URL.fullmatch(text):
        raise ValueError("is not a URL: it has a character that has to be written as %XX")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from None
    if not parts.hostname:
        raise ValueError("is not a URL with a host")
    if "@" in parts.netloc:
        raise ValueError("has a user name in it; credentials belong into variables")
    return parts


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a URL's host means, in any spelling that resolvers take, or None for a name."""
    import ipaddress
    import socket

    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        try:
            found = ipaddress.IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433
        except OSError:
            return None
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    return mapped or found
