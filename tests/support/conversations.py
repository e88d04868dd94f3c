"""What a model was sent, in a form that can be compared between requests."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from perstack.testing.model_server.requests import ModelRequest


def said(request: ModelRequest) -> list[str]:
    """The conversation without its instruction, block by block as JSON; marks for caches, which move, are left out."""
    told = ("system", "developer")
    return [line for message in request.messages if message.get("role") not in told for line in _blocks(message)]


def _blocks(message: dict[str, object]) -> list[str]:
    content = message.get("content")
    rest = {key: value for key, value in message.items() if key != "content"}
    blocks = content if isinstance(content, list) else [content]
    return [json.dumps([rest, _unmarked(block)], sort_keys=True) for block in blocks if not _is_mark(block)]


def _unmarked(block: object) -> object:
    return {key: value for key, value in block.items() if key != "cache_control"} if isinstance(block, dict) else block


def _is_mark(block: object) -> bool:
    return isinstance(block, dict) and "cachePoint" in block


def answers(request: ModelRequest) -> int:
    """How many answers of the model are in the conversation."""
    return sum(message.get("role") in ("assistant", "model") for message in request.messages)


def effects(log: Path) -> Counter[str]:
    """How often each text was echoed, by the log of the fake skill itself."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return Counter(line["args"]["text"] for line in lines if line["event"] == "start")


def answered_in_order(request: ModelRequest) -> bool:
    """Whether each answer's calls are followed by exactly their results, in call order (OpenAI's format)."""
    waiting: list[object] = []
    for message in request.messages:
        if message["role"] == "tool":
            if not waiting or waiting.pop(0) != message["tool_call_id"]:
                return False
            continue
        if waiting:
            return False
        calls = message.get("tool_calls") or []
        waiting = [call["id"] for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return not waiting
