"""When a failed generation is asked again: the one retry layer, outside the conversation."""

from __future__ import annotations

from perstack.errors import ProviderError

FIRST_DELAY = 0.5
"""Seconds before the second attempt, before jitter; each further delay doubles."""

LONGEST_DELAY = 60.0
"""Seconds; longer waits, also those that a server asks for, are left to the person."""


def retry_delay(error: ProviderError, *, attempt: int, max_retries: int, jitter: float) -> float | None:
    """Seconds to wait before attempt number `attempt` + 1, or None when there must be none.

    Args:
        error: What ended the attempt.
        attempt: 1 for the first.
        max_retries: Attempts after the first that are allowed.
        jitter: A random number from 0 to 1; it takes up to half of a computed delay away, so that many clients that
            failed together do not return together. A delay that the server asked for is never shortened.
    """
    if not error.retryable or attempt > max_retries:
        return None
    if error.retry_after is not None:
        return error.retry_after if error.retry_after <= LONGEST_DELAY else None
    delay: float = min(FIRST_DELAY * 2 ** (attempt - 1), LONGEST_DELAY)
    return delay * (1 - jitter / 2)
