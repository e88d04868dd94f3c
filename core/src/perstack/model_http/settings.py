"""The parts of a provider's context that become an address and headers, each checked before anything is sent.

A key goes to the vendor's own host or to the base URL that the configuration names, over TLS or on this machine.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from perstack.errors import ConfigError, Problem
from perstack.outbound.grants import is_loopback
from perstack.specs import ProviderContext

PLAIN = re.compile(r"[\x20-\x7e]*")
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
OURS = frozenset({"connection", "content-length", "content-type", "host", "te", "transfer-encoding", "upgrade"})
"""Headers that belong to the message's framing."""


def base_url(context: ProviderContext, *, variable: str, default: str) -> str:
    """Where requests go, without a slash at the end: the setting ``baseUrl``, else `variable`, else `default`.

    Raises:
        ConfigError: It is neither https nor http on this machine, or has a user, a query or a fragment.
    """
    setting = text_setting(context, "baseUrl")
    name, url = ("baseUrl", setting) if setting else (variable, context.env.get(variable) or default)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise _problem(name, f"is no URL: {error}", "Write one such as https://models.example.com/v1.") from None
    if not PLAIN.fullmatch(url) or " " in url or not host or parts.scheme not in ("http", "https"):
        raise _problem(name, "is no http(s) URL", "Write one such as https://models.example.com/v1.")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise _problem(name, "has a user, a query or a fragment", "Leave it out; keys have variables of their own.")
    if parts.scheme == "http" and not is_loopback(host):
        hint = "Use https; plain http is for servers on this machine."
        raise _problem(name, f"would send the conversation and the key unencrypted to {host!r}", hint)
    return url.rstrip("/")


def secret(context: ProviderContext, variable: str) -> str:
    """The value of a variable without which the provider cannot work.

    Raises:
        ConfigError: It is not set, or could not be sent as a header. The value is not shown.
    """
    value = context.env.get(variable, "").strip()
    if not value:
        raise _problem(variable, "is not set", "Set it in the environment or in an env file.")
    if not PLAIN.fullmatch(value):
        raise _problem(variable, "has characters that no key has", "Copy the key again.")
    return value


def text_setting(context: ProviderContext, key: str) -> str:
    """The setting `key`, empty where there is none.

    Raises:
        ConfigError: It is no text, or could not be sent as a header.
    """
    value = context.settings.get(key, "")
    if isinstance(value, str) and PLAIN.fullmatch(value):
        return value
    raise _problem(key, "is no text of printable ASCII characters", "")


def header_settings(context: ProviderContext) -> dict[str, str]:
    """The headers of the setting ``headers``, names in lower case.

    Raises:
        ConfigError: One of them is no header, or belongs to the message's framing.
    """
    headers = context.settings.get("headers", {})
    if not isinstance(headers, dict):
        raise _problem("headers", "is no table", 'Write headers = { "x-name" = "value" }.')
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if not TOKEN.fullmatch(name) or not isinstance(value, str) or not PLAIN.fullmatch(value):
            raise _problem(f"headers.{name!r}", "is no header", "Names are tokens and values printable ASCII text.")
        if name.lower() in OURS:
            raise _problem(f"headers.{name!r}", "belongs to the message's framing", "Leave it out.")
        checked[name.lower()] = value
    return checked


def _problem(name: str, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(message=f"{name} {message}.", hint=hint)])
