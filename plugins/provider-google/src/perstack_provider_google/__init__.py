"""Models that speak Gemini's generateContent: the Gemini API and Vertex AI."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
