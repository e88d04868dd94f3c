"""Tool calls as models write them: arguments that may be broken, ids that may be missing or used twice."""

from __future__ import annotations

import json

from perstack_proxy.sanitise import well_formed

from perstack.ids import new_id
from perstack.messages import JsonObject
from perstack.protocols import ToolCallRequest

MOST_CALLS = 1024
"""Tool calls of one answer. Formats allow 128 functions at most; a thousand calls are more than any model makes."""


class ToolCalls:
    """Makes the tool calls of one answer; no two have the same id, so that each result finds its call."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def make(self, *, id: str | None, name: str, raw: str) -> ToolCallRequest:
        """The call of `name` with arguments as the model wrote them; no arguments at all are an empty object."""
        own = id if id and id not in self._ids else f"call_{new_id()}"
        self._ids.add(own)
        return ToolCallRequest(id=own, name=name, args=arguments(raw), raw_args=raw)


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
