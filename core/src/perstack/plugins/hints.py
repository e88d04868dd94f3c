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


OTHER_AGENTS = frozenset({"cursor", "claude-code", "gemini"})
"""Runtimes of the TypeScript original that no policy of ours would hold in."""


def inactive_hint(kind: str, plugin: str, available: Iterable[str]) -> str:
    """What to do when the plugin that offers a `kind` is installed and takes no part."""
    names = " or ".join(sorted(available))
    return f"See: perstack plugins show {plugin}{f', or pass --{kind} {names}' if names else ''}"


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
    if kind == "runtime" and name in OTHER_AGENTS:
        return f"It is an agent of another vendor, with tools of its own; a plugin can add it. {_there_is(names)}"
    return f"Did you mean {close[0]!r}?" if close else _there_is(names)


def _there_is(names: Iterable[str]) -> str:
    return f"There is: {', '.join(names)}"
