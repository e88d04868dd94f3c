"""Identifiers of jobs, runs, checkpoints, events and calls: made at random, and validated before they touch a path."""

from __future__ import annotations

import re
import secrets

from perstack.errors import UsageError

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
LENGTH = 24
"""124 bits: no two of a user's ids ever meet. The length is the original's (cuid2)."""

PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def new_id() -> str:
    """A fresh id that starts with a letter, so that no program takes it for a number or an option."""
    return secrets.choice(ALPHABET[:26]) + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH - 1))


def checked_id(value: str, *, what: str) -> str:
    """`value`, when it is an id.

    Raises:
        UsageError: It is not; `what` names it (``job id``).
    """
    if PATTERN.fullmatch(value):
        return value
    raise UsageError(f"{value!r} is not a {what}.", hint="Ids are 1 to 128 letters, digits, '-' and '_'.")
