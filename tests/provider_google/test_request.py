"""What is sent to Google, beyond what the SDK's oracle shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.genai import types
from model_conversation import TOOLS
from model_events import as_sent, gathered, told
from perstack.errors import ProviderError
from perstack.messages import ExpertMessage, ImagePart, TextPart, ThinkingPart, ToolCallPart, UserMessage
from perstack.model_http import Encodings, Event
from perstack.protocols import Finish, GenerateRequest
from perstack.specs import ModelInfo
from perstack.testing.answers import question
from perstack_provider_anthropic.request import message_blocks
from perstack_provider_google.profiles import MODELS
from perstack_provider_google.request import generate_body, message_contents
from perstack_provider_google.stream import GenerateAnswer


def thinking(request: GenerateRequest) -> object:
    config = generate_body(request, MODELS).get("generationConfig")
    return config.get("thinkingConfig") if isinstance(config, dict) else None


@pytest.mark.parametrize(
    ("model", "tokens", "sent"),
    [
        ("gemini-2.5-flash", 5000, {"includeThoughts": True, "thinkingBudget": 5000}),
        ("gemini-2.5-flash", 90_000, {"includeThoughts": True, "thinkingBudget": 24_576}),
        ("gemini-2.5-flash", 0, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", 64, {"includeThoughts": True, "thinkingBudget": 128}),
        ("gemini-2.5-pro", 0, {"thinkingBudget": 128}),
        ("gemini-3-pro-preview", 5000, {"includeThoughts": True, "thinkingLevel": "LOW"}),
        ("gemini-3-pro-preview", 10_000, {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("nobody-knows", 0, None),
        ("nobody-knows", 2048, {"includeThoughts": True, "thinkingBudget": 2048}),
    ],
)
def test_W_58_a_budget_is_within_what_the_model_takes(model: str, tokens: int, sent: object) -> None:
    assert thinking(question(model=model, reasoning_tokens=tokens)) == sent


def test_a_signature_goes_back_to_google_only_and_a_foreign_call_is_marked() -> None:
    own = ToolCallPart(tool_call_id="a", tool_name="f", args={}, signature="google:proof")
    foreign = ToolCallPart(tool_call_id="b", tool_name="f", args={}, signature="openai:proof-of-another")
    thought = ThinkingPart(thinking="hidden", signature="anthropic:x")
    messages = [ExpertMessage(id="1", contents=(thought, own, foreign)), ExpertMessage(id="2", contents=(foreign, own))]
    first, second = (next(message_contents(message, ids=False))["parts"] for message in messages)
    assert [part.get("thoughtSignature") for part in first] == ["proof", None]
    assert [part.get("thoughtSignature") for part in second] == ["skip_thought_signature_validator", "proof"]
    assert "another" not in str(first + second)


@pytest.mark.anyio
async def test_a_signature_of_a_text_goes_back_with_that_text_and_to_no_other_vendor() -> None:
    sent = [{"text": "It has "}, {"text": "two heads.", "thoughtSignature": "proof"}, {"text": " Or one."}]
    answer = GenerateAnswer("google")
    parts = [part for text in sent for part in answer.feed(chunk(text))]
    parts += [*answer.feed(told({"candidates": [{"finishReason": "STOP"}]})), *answer.end()]
    said = await gathered(parts)
    assert said.text == "It has two heads. Or one."
    (content,) = message_contents(said.message(), ids=True)
    assert content["parts"] == sent
    assert "proof" not in str([*message_blocks(said.message())])


def chunk(part: dict[str, object]) -> Event:
    return told({"candidates": [{"content": {"parts": [part]}}]})


def test_what_a_model_cannot_see_is_said_in_words() -> None:
    image = UserMessage(id="1", contents=(TextPart(text="look"), ImagePart(encoded_data="AAAA", mime_type="image/png")))
    encodings = Encodings(lambda message: message_contents(message, ids=True))
    blind = as_sent(encodings.all((image,), ModelInfo(vision=False)))
    seeing = as_sent(encodings.all((image,), ModelInfo(vision=True)))
    assert "image/png stood here" in str(blind)
    assert "AAAA" not in str(blind)
    assert "AAAA" in str(seeing)


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "refusal"),
        ({"candidates": [{"finishReason": "RECITATION"}]}, "refusal"),
        ({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}, "error"),
        ({"candidates": [{"finishReason": "MAX_TOKENS"}]}, "length"),
    ],
)
def test_W_16_each_way_to_end_has_its_reason(chunk: dict[str, object], reason: str) -> None:
    answer = GenerateAnswer("a-server")
    assert list(answer.feed(told(chunk))) == []
    (finish,) = answer.end()
    assert isinstance(finish, Finish)
    assert finish.reason == reason


@pytest.mark.parametrize("data", ["null", "[]", "{", '{"candidates": 1}', "[" * 5000])
def test_what_is_no_chunk_is_an_error_that_may_pass(data: str) -> None:
    with pytest.raises(ProviderError) as caught:
        list(GenerateAnswer("a-server").feed(told(data)))
    assert caught.value.retryable


def test_W_09_tools_of_the_vendor_stand_beside_the_experts_own() -> None:
    asked = GenerateRequest(
        model="gemini-2.5-flash",
        messages=(),
        tools=TOOLS,
        timeout=1.0,
        provider_tools={"googleSearch": {}, "neverHeardOf": {}},
    )
    search, own = generate_body(asked, MODELS)["tools"]
    assert search == {"googleSearch": {}}
    assert len(own["functionDeclarations"]) == len(TOOLS)


def test_W_09_files_are_searched_in_the_stores_that_were_named_and_nowhere_else() -> None:
    stores = {"fileSearch": {"vectorStoreIds": ["fileSearchStores/one"]}, "googleMaps": {}}
    request = replace(question(tools=TOOLS), provider_tools=stores)
    sent = generate_body(request, MODELS, shows_own_tools=True)
    assert sent["tools"][0] == {"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/one"]}}
    assert sent["toolConfig"] == {"includeServerSideToolInvocations": True}
    types.Tool.model_validate(sent["tools"][0])
    nowhere = generate_body(replace(request, provider_tools={"fileSearch": {}}), MODELS, shows_own_tools=True)
    assert [list(tool) for tool in nowhere["tools"]] == [["functionDeclarations"]]
    assert "toolConfig" not in nowhere
