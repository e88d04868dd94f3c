"""The grammar and the matcher of `allowedDomains`.

A pattern is a host name, which covers exactly that name, or `*.` and a host name, which covers every name below it and
not the name itself. Everything else is refused with a reason. `markers` names what a person should look at twice.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PUBLIC_SUFFIXES = """
    ac.uk co.uk gov.uk org.uk com.au net.au org.au co.nz co.jp ne.jp or.jp com.br com.cn com.mx com.tr com.tw co.in
    co.kr co.za co.il com.ar com.sg com.hk com.my com.ua eu.org
"""
#: Names that are no host of their own: anyone may register below them. A small list of the most used ones; the public
#: suffix list has ten thousand and is not worth carrying into a sandbox.
PUBLIC_SUFFIXES = frozenset(_PUBLIC_SUFFIXES.split())

_SHARED_SUFFIXES = """
    amazonaws.com appspot.com azureedge.net azurefd.net azurewebsites.net b-cdn.net blob.core.windows.net
    blogspot.com cloudapp.net cloudfront.net cloudfunctions.net core.windows.net deno.dev digitaloceanspaces.com
    duckdns.org fastly.net firebaseapp.com firebaseio.com fly.dev github.io githubusercontent.com gitlab.io
    glitch.me googleapis.com googleusercontent.com herokuapp.com hf.space myshopify.com netlify.app ngrok-free.app
    ngrok.app ngrok.io nip.io onrender.com pages.dev r2.dev railway.app readthedocs.io repl.co replit.app
    sharepoint.com sslip.io supabase.co surge.sh trycloudflare.com vercel.app web.app windows.net workers.dev
    wordpress.com
"""
#: Hosts below which many unrelated parties publish, so that a wildcard there trusts all of them.
SHARED_SUFFIXES = frozenset(_SHARED_SUFFIXES.split())

SHARED_HOST = "shared-host"
WILDCARD = "wildcard"
PUNYCODE = "punycode"

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")


class PatternError(ValueError):
    """A pattern that is refused.

    Attributes:
        pattern: The pattern as written.
        reason: Why it is refused; completes "the pattern …".
    """

    def __init__(self, pattern: str, reason: str) -> None:
        super().__init__(f"the pattern {pattern!r} {reason}")
        self.pattern = pattern
        self.reason = reason


class DomainPattern(NamedTuple):
    """One accepted entry of `allowedDomains`.

    Attributes:
        host: Lower-case name without a trailing dot; for a wildcard, without its `*.`.
        wildcard: Whether it covers every name below `host`, and not `host` itself.
    """

    host: str
    wildcard: bool = False

    def matches(self, host: str) -> bool:
        """Whether the pattern covers this host name. Case and one trailing dot do not matter."""
        name = normalise(host)
        return name.endswith("." + self.host) if self.wildcard else name == self.host

    @property
    def markers(self) -> tuple[str, ...]:
        """What a reviewer should look at: some of `WILDCARD`, `SHARED_HOST`, `PUNYCODE`."""
        found = []
        if self.wildcard:
            found.append(WILDCARD)
            if _ends_with_one_of(self.host, SHARED_SUFFIXES):
                found.append(SHARED_HOST)
        if any(label.startswith("xn--") for label in self.host.split(".")):
            found.append(PUNYCODE)
        return tuple(found)

    def __str__(self) -> str:
        return f"*.{self.host}" if self.wildcard else self.host


def normalise(host: str) -> str:
    """The one spelling of a host name that is compared: lower case, no trailing dot."""
    return host.lower().removesuffix(".")


def parse(pattern: str, *, punycode: bool = False, registry: bool = False) -> DomainPattern:
    """The pattern that a line of `allowedDomains` means.

    Args:
        pattern: `api.example.com` or `*.example.com`.
        punycode: Accept labels that start with `xn--`, which can look like another name.
        registry: Accept a wildcard for everything that is registered under a suffix, such as `*.com`. For denials.

    Raises:
        PatternError: The pattern is not in the grammar; its `reason` says why and what to write.
    """
    text = normalise(pattern)
    _refuse_what_is_no_name(pattern, text)
    wildcard = text.startswith("*.")
    host = text[2:] if wildcard else text
    if "*" in host:
        raise PatternError(pattern, "has a wildcard inside; only a leading '*.' is one")
    labels = host.split(".")
    _refuse_labels(pattern, host, labels, punycode=punycode)
    if (len(labels) == 1 or host in PUBLIC_SUFFIXES) and not (wildcard and registry):
        what = "covers every host that anyone registers" if wildcard else "is a suffix under which anyone can register"
        raise PatternError(pattern, f"{what}; name the host in full")
    return DomainPattern(host, wildcard)


def _refuse_what_is_no_name(pattern: str, text: str) -> None:
    if not text:
        raise PatternError(pattern, "is empty; leave the entry out")
    if not text.isascii():
        raise PatternError(pattern, "is not ASCII; write its 'xn--' form and set allowPunycode")
    if text == "*":
        raise PatternError(pattern, "covers every host; name the hosts")
    if "://" in text:
        raise PatternError(pattern, "has a scheme; write the host name alone")
    if text.startswith("[") or text.count(":") > 1:
        raise PatternError(pattern, "is an IP address; name a host")
    if any(mark in text for mark in "/?#"):
        raise PatternError(pattern, "has a path; write the host name alone")
    if "@" in text:
        raise PatternError(pattern, "has a user name; write the host name alone")
    if ":" in text:
        raise PatternError(pattern, "has a port; only port 443 is reachable, write the host name alone")


def _refuse_labels(pattern: str, host: str, labels: list[str], *, punycode: bool) -> None:
    if len(host) > 253:
        raise PatternError(pattern, "is longer than 253 characters")
    if _NUMBER.fullmatch(labels[-1]):  # what URL parsers read as an IPv4 address in one of its spellings
        raise PatternError(pattern, "is an IP address; name a host")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise PatternError(pattern, f"has the label {label!r}; a label is 1 to 63 letters, digits, inner hyphens")
        if label.startswith("xn--") and not punycode:
            raise PatternError(
                pattern, "has an 'xn--' label, which can look like another name; allowPunycode accepts it"
            )


def _ends_with_one_of(host: str, suffixes: frozenset[str]) -> bool:
    labels = host.split(".")
    return any(".".join(labels[start:]) in suffixes for start in range(len(labels)))
