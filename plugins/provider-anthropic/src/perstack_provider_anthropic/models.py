"""What is known of Anthropic's models: the vendor's published windows and output limits, in tokens."""

from __future__ import annotations

from perstack.specs import ModelInfo

CURRENT = ModelInfo(context_window=1_000_000, max_output=128_000, reasoning=True)
OPUS_4 = ModelInfo(context_window=200_000, max_output=32_000, reasoning=True)
SONNET_4 = ModelInfo(context_window=200_000, max_output=64_000, reasoning=True)

MODELS = {
    "claude-fable-5-1": CURRENT,
    "claude-opus-5-5": CURRENT,
    "claude-opus-5": CURRENT,
    "claude-sonnet-5-5": CURRENT,
    "claude-sonnet-5": CURRENT,
    "claude-opus-4-5": OPUS_4,
    "claude-opus-4-1": OPUS_4,
    "claude-opus-4": OPUS_4,
    "claude-sonnet-4-5": SONNET_4,
    "claude-sonnet-4": SONNET_4,
    "claude-3-7-sonnet": SONNET_4,
    "claude-haiku-4-5": SONNET_4,
    "claude-3-5-haiku-latest": ModelInfo(context_window=200_000, max_output=8_192),
}
"""By name without the date of a version."""

DEFAULT_MODEL = "claude-sonnet-5-5"
"""The successor of the original's default, claude-sonnet-4-5, which the vendor retires on 2026-11-30."""

TAKES_BUDGET = (
    "claude-3-7-",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-opus-4-2025",
    "claude-opus-4-5",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2025",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
)
"""Beginnings of the names of models that think within a budget of tokens. Later ones refuse it and take an effort."""
