"""A model that says what a script tells it to, over real HTTP on loopback, and keeps what it was asked.

    with ModelServer([Turn(calls=[Call("readTextFile", {"path": "a"})]), Turn(text="done")]) as server:
        ...  # a provider with base URL server.openai_url or server.anthropic_url
    assert server.requests[1].tool_results == ("...",)

It speaks OpenAI Chat Completions and Responses, Anthropic Messages, Gemini's generateContent and Bedrock's Converse,
streamed and whole; the request's path decides.
"""

from __future__ import annotations

from perstack.testing.model_server.gate import Gate
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.model_server.script import (
    Call,
    Cut,
    ErrorEvent,
    Fault,
    Raw,
    Refuse,
    Script,
    Stall,
    Turn,
    When,
    load,
)
from perstack.testing.model_server.server import ModelServer

__all__ = [
    "Call",
    "Cut",
    "ErrorEvent",
    "Fault",
    "Gate",
    "ModelRequest",
    "ModelServer",
    "Raw",
    "Refuse",
    "Script",
    "Stall",
    "Turn",
    "When",
    "load",
]
