"""The Podman runtime: every skill runs in a hardened container of its own, with or without root."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
