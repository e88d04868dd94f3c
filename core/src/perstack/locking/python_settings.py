"""Python's registries: from uv's variables and ``uv.toml``, else from pip's and ``pip.conf``. No project file is asked.

Credentials come from ``.netrc``, too.
"""

from __future__ import annotations

import configparser
import netrc
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from perstack.errors import UserError
from perstack.locking.registries import (
    Registries,
    Registry,
    base_url,
    basic,
    certificate_names,
    existing_files,
    settings_text,
    unusable,
    without_account,
)


def python_registries(environ: Mapping[str, str], *, home: Path, root: Path = Path("/")) -> Registries:
    """What the user's own settings say.

    Args:
        environ: The process's own variables, before any env file of a project.
        home: The user's home directory.
        root: Where the machine's settings start.

    Raises:
        UserError: A setting cannot be used.
    """
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    uv, pip = _uv(environ, config, root), _pip(environ, config, home, root)
    chosen, others = (uv, pip) if uv.urls or uv.default else (pip, uv)
    try:
        accounts = netrc.netrc(environ.get("NETRC") or home / ".netrc")
    except (OSError, netrc.NetrcParseError):
        accounts = None
    known, ignored = [], list(chosen.ignored)
    for text in [*chosen.urls, *([chosen.default] if chosen.default else [])]:
        url, authorization = without_account(base_url(text))
        if reason := unusable(url):
            ignored.append(reason)
            continue
        found = accounts.authenticators(urlsplit(url).hostname or "") if accounts and not authorization else None
        if found:
            authorization = basic(found[0], found[2] or "")
        known.append(Registry(url=url, authorization=authorization))
    return Registries(
        ecosystem="pypi",
        known=tuple(known),
        authorities=existing_files([*chosen.certificates, *others.certificates, *certificate_names(environ)], home),
        ignored=tuple(ignored),
        default=not chosen.default,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Indexes:
    """What one Python tool is set to: further indexes, which are asked first, and the one in place of its own."""

    urls: tuple[str, ...] = ()
    default: str = ""
    certificates: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def _uv(environ: Mapping[str, str], config: Path, root: Path) -> _Indexes:
    default, urls = "", list[str]()
    for path in (root / "etc/uv/uv.toml", config / "uv/uv.toml"):
        try:
            table = tomllib.loads(settings_text(path))
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"{path} cannot be read: {error}.", hint="Mend it; uv reads it too.") from None
        default = _word(table.get("index-url")) or default
        extra = table.get("extra-index-url")
        urls += [_word(url) for url in extra] if isinstance(extra, list) else []
        entries = table.get("index")
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and not entry.get("explicit"):
                url = _word(entry.get("url"))
                default, urls = (url, urls) if entry.get("default") else (default, [*urls, url])
    default = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or default
    named = f"{environ.get('UV_INDEX', '')} {environ.get('UV_EXTRA_INDEX_URL', '')}".split()
    urls = [word.rpartition("=")[2] if re.match(r"[\w.-]+=", word) else word for word in named] + urls
    return _Indexes(urls=tuple(filter(None, urls)), default=default)


def _pip(environ: Mapping[str, str], config: Path, home: Path, root: Path) -> _Indexes:
    named = environ.get("PIP_CONFIG_FILE")
    places = [root / "etc/pip.conf", home / ".pip/pip.conf", config / "pip/pip.conf"]
    values: dict[str, str] = {}
    for path in [*places, Path(named)] if named else places:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(settings_text(path))
        except configparser.Error as error:
            raise UserError(f"{path} cannot be read: {error}.", hint="Mend it; pip reads it too.") from None
        for section in ("global", "install", "download"):
            values |= dict(parser.items(section)) if parser.has_section(section) else {}
    for name in ("index-url", "extra-index-url", "cert"):
        variable = environ.get(f"PIP_{name.upper().replace('-', '_')}")
        values |= {name: variable} if variable else {}
    links = "find-links: only indexes are asked" if values.get("find-links") else ""
    return _Indexes(
        urls=tuple(values.get("extra-index-url", "").split()),
        default=values.get("index-url", ""),
        certificates=(values.get("cert", ""),),
        ignored=tuple(filter(None, (links,))),
    )


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""
