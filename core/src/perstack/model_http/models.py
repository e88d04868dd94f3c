"""What follows from a model's name and from a budget for reasoning, whoever the vendor is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from perstack.specs import ModelInfo

DATE = re.compile(r"-(20\d{6}|20\d\d-\d\d-\d\d)$")
LOW_TOKENS = 2_048
MEDIUM_TOKENS = 5_000
"""The largest budgets that count as low and as medium effort. The original's figures."""


def known_model(models: Mapping[str, ModelInfo], name: str) -> ModelInfo | None:
    """What is known of the model `name`, or of the model of which it is a dated version."""
    return models.get(name) or models.get(DATE.sub("", name))


def effort(tokens: int) -> Literal["low", "medium", "high"]:
    """A budget in tokens as a level, for models that take no budget."""
    if tokens <= LOW_TOKENS:
        return "low"
    return "medium" if tokens <= MEDIUM_TOKENS else "high"
