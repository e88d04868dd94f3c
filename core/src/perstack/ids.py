"""Identifiers of jobs, runs, checkpoints, events and calls: made at random, and validated before they touch a path."""

from __future__ import annotations

import os
import re

from perstack.errors import UsageError

ALPHABET = b"abcdefghijklmnopqrstuvwxyz234567"
"""Base 32: every character is five random bits, whatever the byte, so none is likelier than another."""

LENGTH = 24
"""119 random bits: no two of a user's ids ever meet. The length is the original's (cuid2)."""

PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")

_ANY = bytes(ALPHABET[value % 32] for value in range(256))
_LETTER = bytes(ALPHABET[value % 16] for value in range(256))


def new_id() -> str:
    """A fresh id that starts with a letter, so that no program takes it for a number or an option."""
    noise = os.urandom(LENGTH)
    return (noise[:1].translate(_LETTER) + noise[1:].translate(_ANY)).decode()


def checked_id(value: str, *, what: str) -> str:
    """`value`, when it is an id.

    Raises:
        UsageError: It is not; `what` names it (``job id``).
    """
    if PATTERN.fullmatch(value):
        return value
    raise UsageError(f"{value!r} is not a {what}.", hint="Ids are 1 to 128 letters, digits, '-' and '_'.")
