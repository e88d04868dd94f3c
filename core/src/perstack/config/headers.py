"""Headers of a remote skill: values that name variables, so that no secret stands in a file.

``$NAME`` and ``${NAME}`` stand for a variable of the host, ``$$`` for a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from perstack.config.grammar import HEADER_NAME

_REFERENCE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_CREDENTIAL = re.compile(r"auth|cookie|key|token|secret|password|credential", re.IGNORECASE)
_OURS = re.compile(
    r"accept|accept-encoding|connection|content-.*|expect|forwarded|host|last-event-id|mcp-.*|proxy-.*|te|trailer|"
    r"transfer-encoding|upgrade|x-forwarded-.*",
    re.IGNORECASE,
)
"""Headers that say what the message is and where it goes."""


def checked(headers: Mapping[str, str]) -> None:
    """Every header may be sent, and none that carries a credential is written out.

    Raises:
        ValueError: One may not; names it.
    """
    names = [name.lower() for name in headers]
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) or names.count(name.lower()) > 1:
            raise ValueError(f"the header {name!r} is not a header's name, or stands there twice")
        if _OURS.fullmatch(name):
            raise ValueError(f"the header {name!r} is set by perstack alone")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"the header {name!r} has a character that headers may not have")
        if "$" in _REFERENCE.sub("", value):
            raise ValueError(f"the header {name!r} has a '$' without a name; write $NAME, or $$ for the sign")
        if _CREDENTIAL.search(name) and not variables(value):
            raise ValueError(f"the header {name!r} holds a credential; keep it in a variable, and write $NAME here")


def variables(template: str) -> tuple[str, ...]:
    """The variables that the value of a header names, each once."""
    found = (match[2] or match[3] for match in _REFERENCE.finditer(template))
    return tuple(dict.fromkeys(name for name in found if name))


def filled(template: str, values: Mapping[str, str]) -> str:
    """The value of a header.

    Raises:
        ValueError: A variable's value cannot stand in a header; names the variable and not its value.
    """
    for name in variables(template):
        value = values.get(name)
        if value is None:
            raise ValueError(f"{name} is not passed on to skills here")
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise ValueError(f"the value of {name} has a character that headers may not have")
    return _REFERENCE.sub(lambda match: "$" if match[1] else values[match[2] or match[3]], template)
