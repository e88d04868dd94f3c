"""What a server's failure says to the engine and to a person."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from perstack.errors import ProviderError
from perstack.model_http.failures import refused, retry_after, unreachable

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def refusal(body: object, status: int = 400) -> ProviderError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return refused("a-server", status, {}, data, key="X_KEY", secrets=("the-secret-key",))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 -0000"}, 30.0),
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "Sun, 22 Nov 2099 12:00:30 GMT"}, None),
        ({"retry-after": "Sun, 99 Nov 2026 99:00:30 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 99999999999999 12:00:30 GMT"}, None),
    ],
)
def test_W_17_a_wish_to_wait_is_seconds_or_a_date_and_no_longer_than_a_day(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers, now=NOW) == seconds


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "the reason", "type": "t"}},
        {"type": "error", "error": {"type": "t", "message": "the reason"}},
        {"error": "the reason"},
        {"message": "the reason"},
        {"detail": "the reason"},
        [{"error": {"message": "the reason"}}],
        b"the reason\n",
        b"\xff the reason",
    ],
)
def test_W_15_the_reason_is_found_in_every_vendors_shape(body: object) -> None:
    assert "the reason" in str(refusal(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"error": {}}',
        b'{"error": {"message": 1}}',
        pytest.param(b"[" * 60_000, id="deep"),
    ],
)
def test_a_body_without_a_reason_leaves_the_status(body: bytes) -> None:
    error = refusal(body)
    assert str(error).startswith("a-server answered 400 Bad Request")
    assert len(str(error)) < 600


def test_a_reason_is_bounded_and_has_no_secret() -> None:
    error = refusal({"error": {"message": "it was the-secret-key " + "x" * 10_000}})
    assert "it was [redacted]" in str(error)
    assert len(str(error)) < 600


def test_no_money_is_not_a_wait() -> None:
    assert refusal({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, 429).retryable
    assert not refusal({"error": {"message": "pay", "code": "insufficient_quota"}}, 429).retryable


def test_a_hint_names_the_variable_of_the_key() -> None:
    assert "X_KEY" in refusal({}, 401).hint
    assert "model" in refusal({}, 404).hint
    assert refusal({}, 500).hint == ""


def test_a_false_certificate_is_not_tried_again() -> None:
    assert unreachable("a-server", "https://a.example/v1", "connection reset").retryable
    error = unreachable("a-server", "https://a.example/v1", "[SSL: CERTIFICATE_VERIFY_FAILED] no issuer")
    assert not error.retryable
    assert "SSL_CERT_FILE" in error.hint


@pytest.mark.parametrize(
    ("said", "seconds"), [("17.5s", 17.5), ("0s", 0.0), ("soon", None), ("-1s", None), ("1e9s", None)]
)
def test_W_17_a_wait_in_googles_body_counts_as_one_in_a_header(said: str, seconds: float | None) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": said}
    error = {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": [{}, info]}}
    body = json.dumps(error).encode()
    assert refused("a-server", 429, {}, body, key="KEY", secrets=()).retry_after == seconds
    assert refused("a-server", 429, {"retry-after": "3"}, body, key="KEY", secrets=()).retry_after == 3.0


@pytest.mark.parametrize(
    ("url", "proxied", "step"),
    [
        ("http://127.0.0.1:11434/v1", False, "Start the server"),
        ("https://models.example.com/v1", False, "Check the network, and baseUrl"),
        ("https://models.example.com/v1", True, "the proxy of HTTPS_PROXY"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_with_what_to_do(url: str, step: str, *, proxied: bool) -> None:
    error = unreachable("a-server", url, "All connection attempts failed", proxied=proxied)
    assert f"at {url.removesuffix('/v1')} failed" in str(error)
    assert step in error.hint
