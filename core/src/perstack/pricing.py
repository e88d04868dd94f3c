"""What tokens cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perstack.messages import Usage
    from perstack.specs import Prices

MILLION = 1_000_000


def cost(usage: Usage, prices: Prices | None) -> float | None:
    """US dollars for one request, or None where no price is known. Caches and long prompts have prices of their own."""
    if prices is None:
        return None
    if prices.long is not None and usage.input_tokens > prices.long.over:
        prices = prices.long
    read, written = usage.cached_input_tokens, usage.cache_write_tokens
    cached = prices.input if prices.cached_input is None else prices.cached_input
    write = prices.input if prices.cache_write is None else prices.cache_write
    fresh = max(0, usage.input_tokens - read - written)  # servers have been seen to count what they read beside it
    spent = fresh * prices.input + read * cached + written * write
    return (spent + usage.output_tokens * prices.output) / MILLION
