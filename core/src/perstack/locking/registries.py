"""Which registries the user's own tools are set to use, with the tokens for them. No project file is asked.

npm's settings come from its variables, the user's ``.npmrc`` and the machine's; those for Python from uv's variables
and ``uv.toml``, else from pip's variables and ``pip.conf``, and credentials also from ``.netrc``.
"""

from __future__ import annotations

import base64
import configparser
import netrc
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from perstack.errors import UserError
from perstack.outbound.grants import is_loopback

Ecosystem = Literal["npm", "pypi"]
LONGEST = 1024 * 1024
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


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


def registries(ecosystem: Ecosystem, environ: Mapping[str, str], *, home: Path, root: Path = Path("/")) -> Registries:
    """What the user's own settings say.

    Args:
        ecosystem: Whose packages are wanted.
        environ: The process's own variables, before any env file of a project.
        home: The user's home directory.
        root: Where the machine's settings start.

    Raises:
        UserError: A setting cannot be used.
    """
    return _npm(environ, home, root) if ecosystem == "npm" else _pypi(environ, home, root)


# --- npm ------------------------------------------------------------------------------------------------------------


def _npm(environ: Mapping[str, str], home: Path, root: Path) -> Registries:
    settings: dict[str, str] = {}
    machine = [root / "etc/npmrc", root / "usr/etc/npmrc", root / "usr/local/etc/npmrc"]
    named = _variable(environ, "npm_config_globalconfig")
    for path in [Path(named)] if named else machine:
        settings |= npmrc(_text(path), environ)
    settings |= npmrc(_text(Path(_variable(environ, "npm_config_userconfig") or home / ".npmrc")), environ)
    for name in ("registry", "cafile"):
        if value := _variable(environ, f"npm_config_{name}"):
            settings[name] = value
    known, ignored = [], []
    for key, value in settings.items():
        scope, colon, name = key.rpartition(":")
        if name == "registry" and (not colon or scope.startswith("@")):
            url, authorization = _split(_base(value))
            if reason := _unusable(url):
                ignored.append(f"{scope or 'registry'}: {reason}")
            else:
                known.append(Registry(url=url, scope=scope, authorization=authorization or _npm_token(url, settings)))
    return Registries(
        ecosystem="npm",
        known=tuple(known),
        authorities=_files([settings.get("cafile", ""), *_certificates(environ)], home),
        ignored=tuple(ignored),
        default="registry" not in settings,
    )


def npmrc(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The keys of an ``.npmrc``, with the values of the variables that it names."""

    def value_of(match: re.Match[str]) -> str:
        return environ.get(match[1], match[0])

    settings = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", ";", "[")):
            settings[key.strip()] = _VARIABLE.sub(value_of, value.strip().strip("\"'"))
    return settings


def _npm_token(url: str, settings: Mapping[str, str]) -> str:
    """The credentials for a registry: those of the longest path that its URL starts with."""
    parts = urlsplit(url)
    path = parts.path
    while path:
        place = f"//{parts.netloc}{path}"
        for prefix in dict.fromkeys((place, place.rstrip("/"))):
            if token := settings.get(f"{prefix}:_authToken"):
                return f"Bearer {token}"
            if both := settings.get(f"{prefix}:_auth"):
                return f"Basic {both}"
            user, password = settings.get(f"{prefix}:username"), settings.get(f"{prefix}:_password")
            if user and password:
                return _basic(user, _plain(password, f"{prefix}:_password"))
        path = path.rstrip("/").rpartition("/")[0] + "/" if path.strip("/") else ""
    return ""


def _plain(encoded: str, key: str) -> str:
    try:
        return base64.b64decode(encoded).decode()
    except ValueError:
        raise UserError(f"{key} of npm's settings is not base64.", hint="Write it again: npm login") from None


# --- Python ---------------------------------------------------------------------------------------------------------


def _pypi(environ: Mapping[str, str], home: Path, root: Path) -> Registries:
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    uv, pip = _uv(environ, config, root), _pip(environ, config, home, root)
    chosen, others = (uv, pip) if uv.urls or uv.default else (pip, uv)
    try:
        accounts = netrc.netrc(environ.get("NETRC") or home / ".netrc")
    except (OSError, netrc.NetrcParseError):
        accounts = None
    known, ignored = [], list(chosen.ignored)
    for text in [*chosen.urls, *([chosen.default] if chosen.default else [])]:
        url, authorization = _split(_base(text))
        if reason := _unusable(url):
            ignored.append(reason)
            continue
        found = accounts.authenticators(urlsplit(url).hostname or "") if accounts and not authorization else None
        if found:
            authorization = _basic(found[0], found[2] or "")
        known.append(Registry(url=url, authorization=authorization))
    return Registries(
        ecosystem="pypi",
        known=tuple(known),
        authorities=_files([*chosen.certificates, *others.certificates, *_certificates(environ)], home),
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
            table = tomllib.loads(_text(path))
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
            parser.read_string(_text(path))
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


# --- both -----------------------------------------------------------------------------------------------------------


def _variable(environ: Mapping[str, str], name: str) -> str:
    """A variable of npm's; they count in any case."""
    return next((value for key, value in environ.items() if key.lower() == name), "")


def _text(path: Path) -> str:
    """The file's text; empty where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(LONGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def _base(url: str) -> str:
    return url.strip().rstrip("/") + "/"


def _unusable(url: str) -> str:
    """Why a registry is not used, without what its URL may hold; empty when it is."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" and host:
        return ""
    if parts.scheme == "http" and is_loopback(host):
        return ""
    return f"{parts.scheme or 'no'} URL of {host or 'no host'}: only https is used"


def _split(url: str) -> tuple[str, str]:
    """A URL without its user and password, and these as a header's value; an empty one in place of what is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if parts.username is None:
        return bare, ""
    return bare, _basic(unquote(parts.username), unquote(parts.password or ""))


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _certificates(environ: Mapping[str, str]) -> Iterator[str]:
    yield from (environ.get(name, "") for name in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "PIP_CERT"))


def _files(names: Sequence[str], home: Path) -> tuple[Path, ...]:
    found = (Path(name.replace("~", str(home), 1) if name.startswith("~/") else name) for name in names if name)
    return tuple(dict.fromkeys(path for path in found if path.is_file()))
