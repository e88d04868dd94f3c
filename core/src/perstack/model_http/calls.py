"""Tool calls as models write them: arguments that may be broken, ids that may be missing or used twice."""

from __future__ import annotations

import json

from perstack_proxy.sanitise import well_formed

from perstack.errors import ProviderError
from perstack.ids import new_id
from perstack.messages import JsonObject
from perstack.model_http.failures import malformed
from perstack.protocols import ToolCallRequest

MOST_CALLS = 1024
"""Tool calls of one answer. Formats allow 128 functions at most; a thousand calls are more than any model makes."""


class ToolCalls:
    """Makes the tool calls of one answer; no two have the same id, so that each result finds its call.

    Args:
        provider: Names the server in errors.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._ids: set[str] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def make(self, *, id: str | None, name: str, raw: str, signature: str | None = None) -> ToolCallRequest:
        """The call of `name` with arguments as the model wrote them; no arguments at all are an empty object.

        Raises:
            ProviderError: There are more than `MOST_CALLS`.
        """
        if len(self._ids) >= MOST_CALLS:
            raise too_many_calls(self._provider)
        own = id if id and id not in self._ids else f"call_{new_id()}"
        self._ids.add(own)
        return ToolCallRequest(id=own, name=name, args=arguments(raw), raw_args=raw, signature=signature)


def too_many_calls(provider: str) -> ProviderError:
    """An answer that no model gives."""
    return malformed(provider, f"more than {MOST_CALLS} tool calls in one answer")


def arguments(raw: str) -> JsonObject | None:
    """The arguments, or None when they are no JSON object."""
    if not raw.strip():
        return {}
    try:
        value = well_formed(json.loads(raw, parse_constant=_no_json))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_json(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
