"""Failures of a model's server as `ProviderError`: what happened, whether to try again, and when; never a secret."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from perstack_proxy.sanitise import sanitise_line

from perstack.errors import ProviderError
from perstack.outbound.grants import is_loopback

MESSAGE_CHARACTERS = 500
SHORTEST_SECRET = 4
WAIT_SECONDS = 24 * 3600.0
"""A server that asks for a longer wait than a day is not believed."""

PASSING = frozenset({408, 409, 425, 429, 529})
"""Statuses below 500, and one above, that pass by themselves. 500 and above do, but for two that never will."""
LASTING = frozenset({501, 505})
OUT_OF_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"})
PASSING_KINDS = frozenset(
    {"overloaded_error", "rate_limit_error", "rate_limit_exceeded", "api_error", "server_error", "timeout_error"}
)
HINTS = {
    401: "Check {key}.",
    403: "Check what {key} may do.",
    404: "Check the model's name and the base URL.",
    413: "The conversation is too long for the server; start a new job or read less at once.",
}


def is_retryable(status: int) -> bool:
    """Whether a request that was answered with `status` may succeed later, unchanged."""
    return status in PASSING or (status >= 500 and status not in LASTING)


def refused(
    provider: str, status: int, headers: Mapping[str, str], body: bytes, *, key: str, secrets: Sequence[str]
) -> ProviderError:
    """An HTTP status that is no success. `headers` has names in lower case; `key` names the variable of the key."""
    phrase = HTTPStatus(status).phrase if status in _STATUSES else "unknown status"
    error = _error(body)
    reason, kind = _reason(error)
    if 300 <= status < 400:
        reason = "a redirect, which is not followed because it could lead the key elsewhere"
    says = f": {_clean(reason, secrets)}" if reason else "."
    return ProviderError(
        f"{provider} answered {status} {phrase}{says}",
        hint=HINTS.get(status, "").format(key=key or "the credentials"),
        status=status,
        retryable=is_retryable(status) and kind not in OUT_OF_MONEY,
        retry_after=_first(retry_after(headers, now=datetime.now(UTC)), _delay(error)),
    )


def reported(provider: str, message: object, *, kind: object = None, status: int | None = None) -> ProviderError:
    """An error that the server sent in the middle of an answer."""
    known = str(kind) if kind else ""
    text = _clean(message, ()) if isinstance(message, str) and message else "no reason given"
    retryable = known in PASSING_KINDS or (status is not None and is_retryable(status))
    head = f"{provider} failed while answering ({_clean(known, ())})" if known else f"{provider} failed while answering"
    return ProviderError(f"{head}: {text}", status=status, retryable=retryable and known not in OUT_OF_MONEY)


def without_secrets(error: ProviderError, secrets: Sequence[str]) -> ProviderError:
    """The error, where what the server said in its answer repeats none of `secrets`."""
    said = str(error)
    if not any(value in said for value in _long(secrets)):
        return error
    return ProviderError(
        _without(said, secrets),
        hint=error.hint,
        status=error.status,
        retryable=error.retryable,
        retry_after=error.retry_after,
    )


def cut_off(provider: str) -> ProviderError:
    """The answer ended before its end was said; nothing of it counts."""
    return ProviderError(f"The answer of {provider} broke off before it was complete.", retryable=True)


def malformed(provider: str, what: str) -> ProviderError:
    """The server sent something that is not of its own format, as a bad link or a bad server does."""
    return ProviderError(f"{provider} sent {_clean(what, ())}.", retryable=True)


def unreachable(
    provider: str, url: str, reason: str, *, secrets: Sequence[str] = (), proxied: bool = False
) -> ProviderError:
    """There was no connection to the server of `url`, or it broke."""
    text, place = _clean(reason, secrets), urlsplit(url)
    address = f"{place.scheme}://{place.netloc}"
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        hint = "If your network has a certificate authority of its own, name its file in SSL_CERT_FILE."
        return ProviderError(f"{provider} could not prove who it is: {text}", hint=hint)
    if is_loopback(place.hostname or ""):
        hint = "Start the server, or name another one: baseUrl in the provider's settings."
    else:
        hint = f"Check the network{' and the proxy of HTTPS_PROXY' if proxied else ''}, and baseUrl where you set it."
    return ProviderError(f"The connection to {provider} at {address} failed: {text}", hint=hint, retryable=True)


def not_allowed(provider: str, reason: str) -> ProviderError:
    """Perstack did not ask: the place is not one of those that were decided for the run."""
    hint = "A server of your own is named by baseUrl in the provider's settings; perstack explain shows what holds."
    return ProviderError(f"{provider} was not asked: {_clean(reason, ())}", hint=hint)


def too_slow(provider: str, seconds: float, what: str) -> ProviderError:
    """Nothing came in time."""
    return ProviderError(f"{provider} did not {what} within {seconds:g} s.", retryable=True)


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds that the server asks to wait, or None: ``retry-after-ms``, or ``retry-after`` in seconds or as a date."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _believable(milliseconds / 1000)
    value = headers.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return _believable(seconds)
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # a year of twelve digits
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return _believable(max(0.0, (date - now).total_seconds()))


_STATUSES = frozenset(status.value for status in HTTPStatus)


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _believable(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= WAIT_SECONDS else None


def _first(one: float | None, other: float | None) -> float | None:
    return other if one is None else one


def _error(body: bytes) -> object:
    """The error in a body of any vendor's shape; a text where there is none."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
    if isinstance(found, list) and found:
        found = found[0]
    return found.get("error", found) if isinstance(found, dict) else found


def _delay(error: object) -> float | None:
    """Seconds that Google asks to wait: its body says so, as ``"17.5s"`` in one of the details."""
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and (seconds := _number(delay.removesuffix("s"))) is not None:
            return _believable(seconds)
    return None


def _reason(error: object) -> tuple[str, str]:
    """The message and the kind of an error."""
    if not isinstance(error, dict):
        return str(error), ""
    reason = next((error[key] for key in ("message", "detail", "error") if isinstance(error.get(key), str)), "")
    return reason, str(error.get("code") or error.get("type") or "")


def _clean(text: str, secrets: Sequence[str]) -> str:
    return sanitise_line(_without(text, secrets), limit=MESSAGE_CHARACTERS)


def _without(text: str, secrets: Sequence[str]) -> str:
    for value in _long(secrets):
        text = text.replace(value, "[redacted]")
    return text


def _long(secrets: Sequence[str]) -> tuple[str, ...]:
    return tuple(value for value in secrets if len(value) >= SHORTEST_SECRET)
