"""What follows from a model's name, its capabilities and a budget for reasoning, whoever the vendor is."""

from __future__ import annotations

from typing import Literal, get_args

from perstack.specs import Effort, ModelInfo

EFFORTS: tuple[Effort, ...] = get_args(Effort)
LOW_TOKENS = 2_048
MEDIUM_TOKENS = 5_000
"""The largest budgets that count as low and as medium effort. The original's figures."""


def effort(tokens: int) -> Literal["low", "medium", "high"]:
    """A budget in tokens as a level, for models that take no budget."""
    if tokens <= LOW_TOKENS:
        return "low"
    return "medium" if tokens <= MEDIUM_TOKENS else "high"


def effort_of(tokens: int, known: ModelInfo | None) -> Effort | None:
    """The level to ask a model for, or None where nothing is said of it: the nearest that the model takes."""
    if known is not None and not known.reasoning:
        return None
    wish: Effort = effort(tokens) if tokens > 0 else "none"
    if known is None or not known.efforts:
        return None if wish == "none" else wish
    return min(known.efforts, key=lambda level: abs(EFFORTS.index(level) - EFFORTS.index(wish)))


def budget_of(tokens: int, known: ModelInfo | None, *, limit: int | None = None) -> int:
    """The number of reasoning tokens that a model takes for a budget under an answer limit; 0 is none.

    No more than half of the answer is reasoned away, and no fewer tokens are asked for than the vendor takes.
    """
    if tokens <= 0 or (known is not None and not known.reasoning):
        return 0
    least, most = (known.least_reasoning, known.most_reasoning) if known is not None else (0, None)
    if limit is not None and limit <= least:
        return 0
    bounds = [bound for bound in (most, limit and limit // 2) if bound]
    return max(min([tokens, *bounds]), least)
