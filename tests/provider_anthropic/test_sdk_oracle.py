"""The vendor's own SDK says what the format is: it sends what we send, and reads what we read."""

from __future__ import annotations

from pathlib import Path

import anthropic
import pytest
from model_conversation import PDF, PNG, TOOLS, conversation, streamed_turn
from perstack.protocols import Provider
from perstack.specs import ProviderContext
from perstack.testing.answers import answer, question
from perstack.testing.model_server import ModelServer, Turn
from perstack_provider_anthropic.plugin import perstack_register_providers

CACHED = {"type": "ephemeral"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
SDK_MESSAGES = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Compare these."},
            IMAGE,
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Two files.", "signature": "proof"},
            {"type": "text", "text": "I read both."},
            {"type": "tool_use", "id": "call_a", "name": "readFile", "input": {"path": "grün.txt"}},
            {"type": "tool_use", "id": "call_b", "name": "readFile", "input": {"path": "b.png"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "call_a",
                "content": [{"type": "text", "text": "no such file"}],
                "is_error": True,
            },
            {"type": "tool_result", "tool_use_id": "call_b", "content": [IMAGE]},
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "One is missing."}]},
    {"role": "user", "content": [{"type": "text", "text": "Go on."}]},
]


def provider(server: ModelServer) -> Provider:
    (spec,) = perstack_register_providers()
    context = ProviderContext(
        settings={}, env={"ANTHROPIC_API_KEY": "key-of-a-test", "ANTHROPIC_BASE_URL": server.url}, cache_dir=Path("x")
    )
    return spec.factory(context)


THINKING = {
    "claude-haiku-4-5": {"thinking": {"type": "enabled", "budget_tokens": 5000}},
    "claude-sonnet-5-5": {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "medium"},
    },
}


@pytest.mark.parametrize("model", THINKING)
async def test_our_request_is_the_sdks_request(model: str) -> None:
    tools = [{"name": t.name, "description": t.description, "input_schema": t.input_schema} for t in TOOLS]
    tools[-1]["cache_control"] = CACHED
    with ModelServer([Turn(text="done", times=None)]) as server:
        own = provider(server)
        history = conversation(signature="anthropic:proof")
        await answer(own, question(*history, model=model, tools=TOOLS, reasoning_tokens=5000, max_output_tokens=20_000))
        await own.aclose()
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="key-of-a-test", max_retries=0) as sdk:
            stream = await sdk.messages.create(
                model=model,
                max_tokens=20_000,
                system=[{"type": "text", "text": "You are careful.", "cache_control": CACHED}],
                messages=SDK_MESSAGES,
                tools=tools,
                cache_control=CACHED,
                **THINKING[model],
                stream=True,
            )
            async for _ in stream:
                pass
        ours, theirs = server.requests
    assert ours.body == theirs.body
    assert ours.path == theirs.path
    for name in ("anthropic-version", "content-type"):
        assert ours.headers[name] == theirs.headers[name]
    # The vendor documents this header; its SDK sends the key as a bearer token, which means the same.
    assert ours.headers["x-api-key"] == theirs.headers["authorization"].removeprefix("Bearer ")


async def test_the_sdk_reads_the_scripted_stream_as_we_do() -> None:
    turn = streamed_turn(signature="proof")
    with ModelServer([turn]) as server:
        own = provider(server)
        ours = await answer(own, question())
        await own.aclose()
        async with (
            anthropic.AsyncAnthropic(base_url=server.url, api_key="key-of-a-test", max_retries=0) as sdk,
            sdk.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]) as stream,
        ):
            theirs = await stream.get_final_message()
    thinking, text, *calls = theirs.content
    assert ours.text == text.text == turn.text
    assert ours.reasoning == thinking.thinking == turn.reasoning
    assert ours.signatures == (f"anthropic:{thinking.signature}",)
    assert [(call.name, call.args) for call in ours.calls] == [(call.name, call.input) for call in calls]
    assert (ours.finish.reason, theirs.stop_reason) == ("tool-calls", "tool_use")
    assert ours.finish.usage == turn.usage
    assert theirs.usage.input_tokens + theirs.usage.cache_read_input_tokens == turn.usage.input_tokens
    assert theirs.usage.output_tokens == turn.usage.output_tokens
