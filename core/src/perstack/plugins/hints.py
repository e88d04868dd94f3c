"""The packages that offer what a user may ask for and does not have."""

from __future__ import annotations

from collections.abc import Iterable

KNOWN_PLUGINS = frozenset(
    {
        "provider-anthropic",
        "provider-embedded",
        "provider-openai",
        "runtime-docker",
        "runtime-local",
        "runtime-podman",
    }
)
"""Plugins of this project; each is the distribution ``perstack-NAME``."""


def missing_hint(kind: str, name: str, available: Iterable[str]) -> str:
    """What to do when no plugin offers the `kind` (``runtime``, ``provider``, …) called `name`."""
    names = sorted(available)
    if f"{kind}-{name}" in KNOWN_PLUGINS:
        install = f"pip install perstack-{kind}-{name}"
        return f"{install}, or pass --{kind} {' or '.join(names)}" if names else install
    if not names:
        return "No installed plugin offers any; see: perstack plugins list"
    from difflib import get_close_matches

    close = get_close_matches(name, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"There is: {', '.join(names)}"
