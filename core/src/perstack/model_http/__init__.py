"""What every model provider needs of HTTP: one client, the rules for its address and its secrets, errors, tool calls.

A wire format is left to a provider as two pure parts: a request body from a `GenerateRequest`, and stream parts from
server-sent events. Nothing here tries again: the engine does, once, with the whole conversation in view.
"""

from __future__ import annotations

from perstack.model_http.calls import MOST_CALLS, ToolCalls, arguments, too_many_calls
from perstack.model_http.client import Authorise, ModelClient, Timeouts
from perstack.model_http.conversation import continues_unsigned, instruction_of, turns
from perstack.model_http.encoding import Encodings
from perstack.model_http.failures import cut_off, malformed, reported
from perstack.model_http.framing import Answer, Event, Framing, decoded, finished
from perstack.model_http.media import data_url, unsendable
from perstack.model_http.models import budget_of, effort, effort_of
from perstack.model_http.settings import base_url, header_settings, secret, text_setting
from perstack.model_table import known_model

__all__ = [
    "MOST_CALLS",
    "Answer",
    "Authorise",
    "Encodings",
    "Event",
    "Framing",
    "ModelClient",
    "Timeouts",
    "ToolCalls",
    "arguments",
    "base_url",
    "budget_of",
    "continues_unsigned",
    "cut_off",
    "data_url",
    "decoded",
    "effort",
    "effort_of",
    "finished",
    "header_settings",
    "instruction_of",
    "known_model",
    "malformed",
    "reported",
    "secret",
    "text_setting",
    "too_many_calls",
    "turns",
    "unsendable",
]
