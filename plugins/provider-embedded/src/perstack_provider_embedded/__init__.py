"""A small real model that runs in this process, without a key and without a network."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
