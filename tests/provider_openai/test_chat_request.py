"""What is sent to a server with chat completions, beyond what the SDK's oracle shows."""

from __future__ import annotations

import json
from functools import partial

import pytest
from model_conversation import PNG, SOUND, TOOLS, conversation
from model_events import as_sent
from perstack.messages import (
    ExpertMessage,
    FilePart,
    JsonObject,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolMessage,
    ToolResultPart,
    UserMessage,
)
from perstack.model_http import Encodings
from perstack.protocols import GenerateRequest
from perstack.testing.answers import question
from perstack_provider_openai.chat_request import chat_body as head
from perstack_provider_openai.chat_request import chat_messages
from perstack_provider_openai.profiles import DEEPSEEK, OLLAMA, OPENAI, Profile


def chat_body(request: GenerateRequest, profile: Profile) -> JsonObject:
    messages = Encodings(partial(chat_messages, profile=profile)).all(request.messages, request.info)
    return as_sent({**head(request, profile), "messages": messages})


@pytest.mark.parametrize(
    ("tokens", "effort"), [(1024, "low"), (2048, "low"), (2049, "medium"), (5000, "medium"), (5001, "high")]
)
def test_a_budget_becomes_an_effort(tokens: int, effort: str) -> None:
    assert chat_body(question(model="gpt-5", reasoning_tokens=tokens), OPENAI)["reasoning_effort"] == effort


def test_W_58_no_effort_goes_to_a_model_that_has_none() -> None:
    assert "reasoning_effort" in chat_body(question(model="gpt-5", reasoning_tokens=2048), OPENAI)
    assert "reasoning_effort" in chat_body(question(model="nobody-knows", reasoning_tokens=2048), OPENAI)
    assert chat_body(question(model="gpt-5", reasoning_tokens=0), OPENAI)["reasoning_effort"] == "minimal", "the least"
    assert chat_body(question(model="gpt-5.4", reasoning_tokens=0), OPENAI)["reasoning_effort"] == "none"
    assert "reasoning_effort" not in chat_body(question(model="gpt-4.1", reasoning_tokens=2048), OPENAI)
    assert "reasoning_effort" not in chat_body(question(model="gemma3:1b", reasoning_tokens=2048), OLLAMA)
    assert "reasoning_effort" not in chat_body(question(model="deepseek-chat", reasoning_tokens=2048), DEEPSEEK)


def test_models_that_take_tools_only_without_reasoning_are_told_not_to_reason() -> None:
    asked = question(model="gpt-5.6-terra", reasoning_tokens=2048, tools=TOOLS)
    assert chat_body(asked, OPENAI)["reasoning_effort"] == "none"
    assert chat_body(question(model="gpt-5.6-terra", reasoning_tokens=2048), OPENAI)["reasoning_effort"] == "low"
    assert chat_body(question(model="gpt-5", reasoning_tokens=2048, tools=TOOLS), OPENAI)["reasoning_effort"] == "low"


def test_deepseek_gets_back_the_reasoning_of_a_message_with_calls_and_no_other_server_does() -> None:
    call = ToolCallPart(tool_call_id="a", tool_name="read", args={})
    own, other = ThinkingPart(thinking="hm"), ThinkingPart(thinking="foreign", signature="anthropic:proof")
    asked = question(ExpertMessage(id="1", contents=(own, other, call)), ExpertMessage(id="2", contents=(call,)))
    assert [message["reasoning_content"] for message in chat_body(asked, DEEPSEEK)["messages"]] == ["hm", ""]
    assert "hm" not in str(chat_body(asked, OPENAI))


def test_each_server_has_its_own_field_for_the_answers_limit() -> None:
    asked = question(max_output_tokens=77)
    assert chat_body(asked, OPENAI)["max_completion_tokens"] == 77
    assert chat_body(asked, OLLAMA)["max_tokens"] == 77


def test_no_tools_are_no_field() -> None:
    assert "tools" in chat_body(question(tools=TOOLS), OPENAI)
    assert "tools" not in chat_body(question(), OPENAI)


def test_the_prefix_stays_the_same_from_step_to_step() -> None:
    whole = conversation()
    earlier = json.dumps(chat_body(question(*whole[:3]), OPENAI)["messages"])
    later = json.dumps(chat_body(question(*whole), OPENAI)["messages"])
    assert later.startswith(earlier.removesuffix("]"))


def test_a_sound_is_sent_as_one_and_an_unknown_file_is_named() -> None:
    parts = (
        FilePart(encoded_data=SOUND, mime_type="audio/wav"),
        FilePart(encoded_data=PNG, mime_type="application/x-unknown"),
    )
    (message,) = chat_body(question(UserMessage(id="1", contents=parts)), OPENAI)["messages"]
    sound, unknown = message["content"]
    assert sound == {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}
    assert unknown["type"] == "text"
    assert "application/x-unknown" in unknown["text"]


def test_results_come_right_after_their_calls_and_content_after_all_results() -> None:
    file = FilePart(encoded_data="JVBERi0=", mime_type="application/pdf")
    calls = tuple(ToolCallPart(tool_call_id=own, tool_name="read", args={}) for own in ("a", "b"))
    results = (
        ToolResultPart(tool_call_id="a", tool_name="read", contents=(TextPart(text="one page"), file)),
        ToolResultPart(tool_call_id="b", tool_name="read", contents=(TextPart(text="two"),)),
    )
    body = chat_body(question(ExpertMessage(id="1", contents=calls), ToolMessage(id="2", contents=results)), OPENAI)
    messages = body["messages"]
    assert [message["role"] for message in messages] == ["assistant", "tool", "tool", "user"]
    assert [message["content"] for message in messages[:3]] == [None, "one page", "two"]
    assert [block["type"] for block in messages[3]["content"]] == ["text", "file"]
