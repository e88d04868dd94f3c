"""Models that speak the OpenAI chat completions format."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
