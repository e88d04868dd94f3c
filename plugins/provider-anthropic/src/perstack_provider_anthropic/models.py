"""What is known of Anthropic's models: the vendor's published windows and output limits, in tokens."""

from __future__ import annotations

from perstack.specs import ModelInfo

OPUS = ModelInfo(context_window=200_000, max_output=32_000, reasoning=True)
SONNET = ModelInfo(context_window=200_000, max_output=64_000, reasoning=True)

MODELS = {
    "claude-opus-4-5": OPUS,
    "claude-opus-4-1": OPUS,
    "claude-opus-4-20250514": OPUS,
    "claude-sonnet-4-5": SONNET,
    "claude-sonnet-4-20250514": SONNET,
    "claude-3-7-sonnet-20250219": SONNET,
    "claude-haiku-4-5": SONNET,
    "claude-3-5-haiku-latest": ModelInfo(context_window=200_000, max_output=8_192),
}
DEFAULT_MODEL = "claude-sonnet-4-5"
"""The original's default."""
