"""When a failed generation is asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack.engine.retry import FIRST_DELAY, LONGEST_DELAY, retry_delay
from perstack.errors import ProviderError


def delay(error: ProviderError, attempt: int = 1, max_retries: int = 5, jitter: float = 0.0) -> float | None:
    return retry_delay(error, attempt=attempt, max_retries=max_retries, jitter=jitter)


def test_W_17_delays_double_from_attempt_to_attempt_up_to_the_longest() -> None:
    delays = [delay(ProviderError("busy", retryable=True), attempt, max_retries=20) for attempt in range(1, 12)]
    assert delays[:4] == [FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY * 4, FIRST_DELAY * 8]
    assert delays[-1] == LONGEST_DELAY


@given(st.floats(0, 1))
def test_jitter_takes_at_most_half_of_a_delay_away(jitter: float) -> None:
    seconds = delay(ProviderError("busy", retryable=True), jitter=jitter)
    assert seconds is not None
    assert FIRST_DELAY / 2 <= seconds <= FIRST_DELAY


def test_W_17_a_delay_that_the_server_asked_for_is_kept_whatever_the_jitter() -> None:
    assert delay(ProviderError("slow down", retryable=True, retry_after=7.5), jitter=1.0) == 7.5


def test_a_server_that_asks_for_a_longer_wait_than_anybody_would_have_is_not_asked_again() -> None:
    assert delay(ProviderError("come back tomorrow", retryable=True, retry_after=86400)) is None


@pytest.mark.parametrize(
    ("error", "attempt"),
    [(ProviderError("bad request"), 1), (ProviderError("busy", retryable=True), 6)],
    ids=["not retryable", "retries used up"],
)
def test_a_failure_that_will_not_pass_is_final(error: ProviderError, attempt: int) -> None:
    assert delay(error, attempt) is None
    assert delay(ProviderError("busy", retryable=True), 5) is not None
