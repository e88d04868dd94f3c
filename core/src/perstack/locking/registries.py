"""The registries that a user's own tools are set to use, and what the settings of all these tools have in common."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from perstack.outbound.grants import is_loopback

Ecosystem = Literal["npm", "pypi"]
LONGEST = 1024 * 1024
"""Bytes that are read of a settings file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registry:
    """A registry that the user's own settings name.

    Attributes:
        url: Its base, which ends with a slash.
        scope: The npm scope that it serves, such as ``@org``; empty for every package.
        authorization: Value of the header for URLs below its base and for no others; empty for none.
    """

    url: str
    scope: str = ""
    authorization: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Registries:
    """The registries of one kind, in the order in which they are asked.

    Attributes:
        authorities: Files with certificates to trust beside the system's.
        ignored: What the settings name and is not used, with the reason.
        default: Whether the tool's own registry comes last, because nobody configured another.
    """

    ecosystem: Ecosystem
    known: tuple[Registry, ...] = ()
    authorities: tuple[Path, ...] = ()
    ignored: tuple[str, ...] = ()
    default: bool = False

    def of(self, package: str) -> tuple[Registry, ...]:
        """The registries that have this package's scope, or that serve every package."""
        scope = package.partition("/")[0] if package.startswith("@") else ""
        scoped = tuple(one for one in self.known if one.scope and one.scope == scope)
        return scoped or tuple(one for one in self.known if not one.scope)


def settings_text(path: Path) -> str:
    """The file's text; empty where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(LONGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def base_url(url: str) -> str:
    """The URL with one slash at its end."""
    return url.strip().rstrip("/") + "/"


def unusable(url: str) -> str:
    """Why a registry is not used, without what its URL may hold; empty when it is."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" and host:
        return ""
    if parts.scheme == "http" and is_loopback(host):
        return ""
    return f"{parts.scheme or 'no'} URL of {host or 'no host'}: only https is used"


def without_account(url: str) -> tuple[str, str]:
    """A URL without its user and password, and these as a header's value; an empty one in place of what is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if parts.username is None:
        return bare, ""
    return bare, basic(unquote(parts.username), unquote(parts.password or ""))


def basic(user: str, password: str) -> str:
    """The header for a user and a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def certificate_names(environ: Mapping[str, str]) -> Iterator[str]:
    """Files with certificates that variables of several tools name; empty for one that is not set."""
    yield from (environ.get(name, "") for name in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "PIP_CERT"))


def existing_files(names: Sequence[str], home: Path) -> tuple[Path, ...]:
    """Those of the named files that are there, each one once."""
    found = (Path(name.replace("~", str(home), 1) if name.startswith("~/") else name) for name in names if name)
    return tuple(dict.fromkeys(path for path in found if path.is_file()))
