"""What is known of Anthropic's models: the vendor's published limits and prices, by name without a version's date."""

from __future__ import annotations

from pathlib import Path

from perstack.model_table import ModelTable

MODELS = ModelTable(Path(__file__).with_name("models.json"))

DEFAULT_MODEL = "claude-sonnet-5-5"
"""The successor of the original's default, claude-sonnet-4-5, which the vendor retires on 2026-11-30."""
