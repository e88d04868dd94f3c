"""What is sent to Anthropic, beyond what the SDK's oracle shows."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from anthropic.types import ContainerParams
from model_conversation import PNG, TOOLS, conversation
from model_events import as_sent
from perstack.messages import (
    ExpertMessage,
    FilePart,
    ImagePart,
    InstructionMessage,
    JsonObject,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolMessage,
    ToolResultPart,
    UserMessage,
    VendorPart,
)
from perstack.model_http import Encodings, budget_of, turns
from perstack.protocols import GenerateRequest
from perstack.testing.answers import question
from perstack_provider_anthropic.models import MODELS
from perstack_provider_anthropic.request import container, message_blocks, messages_body
from pydantic import TypeAdapter

MODEL = "claude-sonnet-4-5"


def body(request: GenerateRequest) -> JsonObject:
    messages = turns(request.messages, Encodings(message_blocks).one)
    return as_sent({**messages_body(request, MODELS), "messages": messages})


def say(text: str, *, id: str = "u") -> UserMessage:
    return UserMessage(id=id, contents=(TextPart(text=text),))


@pytest.mark.parametrize(
    ("wanted", "limit", "budget"),
    [
        (0, 64_000, 0),
        (1, 64_000, 1024),
        (5000, 64_000, 5000),
        (90_000, 64_000, 32_000),
        (5000, 1500, 1024),
        (5000, 1024, 0),
    ],
)
def test_W_58_a_budget_is_above_the_vendors_least_and_below_the_answers_limit(
    wanted: int, limit: int, budget: int
) -> None:
    assert budget_of(wanted, MODELS[MODEL], limit=limit) == budget


def test_W_58_no_thinking_goes_to_a_model_that_has_none() -> None:
    assert "thinking" in body(question(model=MODEL, reasoning_tokens=2048))
    assert "thinking" in body(question(model="nobody-knows", reasoning_tokens=2048))
    assert "thinking" not in body(question(model="claude-3-5-haiku-latest", reasoning_tokens=2048))
    assert "thinking" not in body(question(model=MODEL, reasoning_tokens=0))


@pytest.mark.parametrize("model", ["claude-opus-4-1-20250805", "claude-sonnet-4-5-20250929", "claude-haiku-4-5"])
def test_W_58_models_of_the_fourth_generation_get_a_budget(model: str) -> None:
    sent = body(question(model=model, reasoning_tokens=5000))
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 5000}
    assert "output_config" not in sent


@pytest.mark.parametrize("model", ["claude-opus-4-6", "claude-sonnet-5", "claude-opus-5-5", "claude-of-the-future"])
def test_W_58_later_models_get_an_effort_since_they_refuse_a_budget(model: str) -> None:
    sent = body(question(model=model, reasoning_tokens=5000))
    assert sent["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert sent["output_config"] == {"effort": "medium"}


def test_the_answers_limit_is_the_requests_or_the_models_or_a_cautious_one() -> None:
    assert body(question(model=MODEL, max_output_tokens=77))["max_tokens"] == 77
    assert body(question(model=MODEL))["max_tokens"] == MODELS[MODEL].max_output
    assert body(question(model="nobody-knows"))["max_tokens"] == 8192


def test_the_bytes_of_a_step_begin_the_next_steps_bytes() -> None:
    whole = conversation(signature="anthropic:proof")
    encodings = Encodings(message_blocks)

    def sent(count: int) -> bytes:
        request = question(*whole[:count], tools=TOOLS, model=MODEL, reasoning_tokens=2048)
        body = {**messages_body(request, MODELS), "messages": turns(request.messages, encodings.one)}
        return msgspec.json.encode(body)

    earlier, later = sent(4), sent(6)
    assert b'"tool_result"' in earlier
    assert later.startswith(earlier.removesuffix(b"]}"))
    head = json.loads(earlier)
    for part in ("system", "tools"):
        assert head[part][-1]["cache_control"] == {"type": "ephemeral"}
    assert head["cache_control"] == {"type": "ephemeral"}, "the vendor marks the newest message itself"
    assert later.count(b"cache_control") == 3, "the vendor takes four marks at most"


def test_a_body_leaves_the_conversation_and_the_tools_as_they_were() -> None:
    request = question(*conversation(signature="anthropic:proof"), tools=TOOLS, model=MODEL)
    before = copy.deepcopy(request)
    assert body(request) == body(request)
    assert request == before


def test_reasoning_of_other_vendors_stays_with_them() -> None:
    parts = tuple(
        ThinkingPart(thinking=f"thought {signature}", signature=signature)
        for signature in ("anthropic:own", "google:other", None)
    )
    redacted = ThinkingPart(thinking="", signature="anthropic-redacted:cipher")
    said = ExpertMessage(id="1", contents=(*parts, redacted, TextPart(text="text")))
    content = body(question(say("hi"), said))["messages"][1]["content"]
    assert [block["type"] for block in content] == ["thinking", "redacted_thinking", "text"]
    assert content[0] == {"type": "thinking", "thinking": "thought anthropic:own", "signature": "own"}
    assert content[1] == {"type": "redacted_thinking", "data": "cipher"}


def test_thinking_does_not_begin_between_a_call_and_its_result() -> None:
    call = ToolCallPart(tool_call_id="a", tool_name="read", args={})
    result = ToolMessage(id="3", contents=(ToolResultPart(tool_call_id="a", tool_name="read", contents=()),))
    foreign = ExpertMessage(id="2", contents=(call,))
    own = ExpertMessage(id="2", contents=(ThinkingPart(thinking="hm", signature="anthropic:proof"), call))
    assert "thinking" in body(question(say("hi"), own, result, model=MODEL, reasoning_tokens=2048))
    assert "thinking" not in body(question(say("hi"), foreign, result, model=MODEL, reasoning_tokens=2048))


def test_turns_alternate_and_empty_texts_are_left_out() -> None:
    messages = (
        InstructionMessage(id="0", contents=(TextPart(text=" "),)),
        say("one", id="1"),
        say("two", id="2"),
        ExpertMessage(id="3", contents=(TextPart(text=" \n"),)),
        say("three", id="4"),
    )
    sent = body(question(*messages))
    assert "system" not in sent
    assert sent["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": text} for text in ("one", "two", "three")]}
    ]


def test_files_that_the_format_cannot_carry_become_text() -> None:
    parts = (
        FilePart(encoded_data="R3LDvMOfZQ==", mime_type="text/plain"),
        FilePart(encoded_data="%", mime_type="text/plain"),
        FilePart(encoded_data=PNG, mime_type="application/x-unknown"),
        ImagePart(encoded_data=PNG, mime_type="image/tiff"),
    )
    content = body(question(UserMessage(id="1", contents=parts)))["messages"][0]["content"]
    assert {block["type"] for block in content} == {"text"}
    assert content[0]["text"] == "Grüße"
    assert "broken" in content[1]["text"]
    assert "application/x-unknown" in content[2]["text"]
    assert "image/tiff" in content[3]["text"]


NOW = datetime(2026, 1, 2, tzinfo=UTC)
OWN = '{"skill_id": "skill_1", "version": "7"}'
SKILLS = [{"type": "builtin", "skillId": "pdf"}, {"type": "custom", "name": "own", "definition": OWN}]


def on_a_machine(expires: datetime) -> ExpertMessage:
    block = {"type": "container", "id": "machine-1", "expires": expires.isoformat()}
    return ExpertMessage(id="e", contents=(TextPart(text="ran"), VendorPart(vendor="anthropic", block=block)))


def test_W_09_the_vendors_skills_stand_on_its_machine_beside_the_tool_that_runs_them() -> None:
    request = replace(question(say("go")), provider_tools={"providerSkills": {"skills": SKILLS}})
    sent = body(request)
    assert sent["container"] == {
        "skills": [
            {"type": "anthropic", "skill_id": "pdf", "version": "latest"},
            {"type": "custom", "skill_id": "skill_1", "version": "7"},
        ]
    }
    assert [tool["name"] for tool in sent["tools"]] == ["code_execution"]
    TypeAdapter(ContainerParams).validate_python(sent["container"])
    assert "container" not in body(question(say("go"))), "the control"


def test_code_goes_on_where_it_ran_while_that_machine_is_there() -> None:
    there, gone = on_a_machine(NOW + timedelta(hours=1)), on_a_machine(NOW)
    wanted = {"codeExecution": {}}
    assert container(replace(question(say("go"), there), provider_tools=wanted), now=NOW) == {"id": "machine-1"}
    assert container(replace(question(say("go"), gone), provider_tools=wanted), now=NOW) == {}
    assert container(question(say("go"), there), now=NOW) == {}
    assert list(message_blocks(there)) == [{"type": "text", "text": "ran"}], (
        "the machine is no part of the conversation"
    )
