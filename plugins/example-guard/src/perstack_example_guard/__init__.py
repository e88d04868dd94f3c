"""The smallest complete plugin: tool calls are denied, or asked about, by pattern."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
