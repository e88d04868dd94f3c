"""What the container runtimes share. Nothing here imports an engine's SDK."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
