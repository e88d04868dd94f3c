"""Perstack's core: configuration, plugins, policy, the agent loop, the journal and the command line."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
