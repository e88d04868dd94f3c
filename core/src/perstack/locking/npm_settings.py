"""npm's registries: from its variables, the user's ``.npmrc`` and the machine's. No project file is asked."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
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

_VARIABLE = re.compile(r"\$\{([^}]+)\}")


def npm_registries(environ: Mapping[str, str], *, home: Path, root: Path = Path("/")) -> Registries:
    """What the user's own settings say.

    Args:
        environ: The process's own variables, before any env file of a project.
        home: The user's home directory.
        root: Where the machine's settings start.

    Raises:
        UserError: A setting cannot be used.
    """
    settings: dict[str, str] = {}
    machine = [root / "etc/npmrc", root / "usr/etc/npmrc", root / "usr/local/etc/npmrc"]
    named = _variable(environ, "npm_config_globalconfig")
    for path in [Path(named)] if named else machine:
        settings |= npmrc(settings_text(path), environ)
    settings |= npmrc(settings_text(Path(_variable(environ, "npm_config_userconfig") or home / ".npmrc")), environ)
    for name in ("registry", "cafile"):
        if value := _variable(environ, f"npm_config_{name}"):
            settings[name] = value
    known, ignored = [], []
    for key, value in settings.items():
        scope, colon, name = key.rpartition(":")
        if name == "registry" and (not colon or scope.startswith("@")):
            url, authorization = without_account(base_url(value))
            if reason := unusable(url):
                ignored.append(f"{scope or 'registry'}: {reason}")
            else:
                known.append(Registry(url=url, scope=scope, authorization=authorization or _npm_token(url, settings)))
    return Registries(
        ecosystem="npm",
        known=tuple(known),
        authorities=existing_files([settings.get("cafile", ""), *certificate_names(environ)], home),
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
                return basic(user, _plain(password, f"{prefix}:_password"))
        path = path.rstrip("/").rpartition("/")[0] + "/" if path.strip("/") else ""
    return ""


def _plain(encoded: str, key: str) -> str:
    try:
        return base64.b64decode(encoded).decode()
    except ValueError:
        raise UserError(f"{key} of npm's settings is not base64.", hint="Write it again: npm login") from None


def _variable(environ: Mapping[str, str], name: str) -> str:
    """A variable of npm's; they count in any case."""
    return next((value for key, value in environ.items() if key.lower() == name), "")
