"""The vendor's own SDK says what the Responses format is: it sends what we send, and reads what we read."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest
from model_conversation import PDF, PNG, TOOLS, conversation, streamed_turn
from perstack.protocols import Provider
from perstack.specs import ProviderContext
from perstack.testing.answers import answer, question
from perstack.testing.model_server import ModelServer, Turn
from perstack_provider_openai.plugin import spec
from perstack_provider_openai.profiles import AZURE, OPENAI

IMAGE = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"}
SDK_INPUT = [
    {"role": "developer", "content": "You are careful."},
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "Compare these."},
            IMAGE,
            {
                "type": "input_file",
                "filename": "document.pdf",
                "file_data": f"data:application/pdf;base64,{PDF}",
            },
        ],
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Two files."}],
        "encrypted_content": "proof:with:colons",
    },
    {"role": "assistant", "content": "I read both."},
    {"type": "function_call", "call_id": "call_a", "name": "readFile", "arguments": '{"path":"grün.txt"}'},
    {"type": "function_call", "call_id": "call_b", "name": "readFile", "arguments": '{"path":"b.png"}'},
    {"type": "function_call_output", "call_id": "call_a", "output": "no such file"},
    {"type": "function_call_output", "call_id": "call_b", "output": [IMAGE]},
    {"role": "assistant", "content": "One is missing."},
    {"role": "user", "content": "Go on."},
]
ASKED = {
    "model": "gpt-5.5",
    "input": SDK_INPUT,
    "tools": [
        {
            "type": "function",
            "name": t.name,
            "description": t.description,
            "parameters": t.input_schema,
            "strict": False,
        }
        for t in TOOLS
    ],
    "reasoning": {"effort": "medium", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "max_output_tokens": 900,
    "store": False,
    "stream": True,
}
QUESTION = question(
    *conversation(signature="openai:rs_1:proof:with:colons"),
    model="gpt-5.5",
    tools=TOOLS,
    reasoning_tokens=5000,
    max_output_tokens=900,
)


def provider(server: ModelServer) -> Provider:
    settings = {"baseUrl": server.openai_url, "api": "responses"}
    env = {"OPENAI_API_KEY": "key-of-a-test"}
    return spec(OPENAI).factory(ProviderContext(settings=settings, env=env, cache_dir=Path("unused")))


async def test_our_request_is_the_sdks_request() -> None:
    with ModelServer([Turn(text="done", times=None)]) as server:
        own = provider(server)
        await answer(own, QUESTION)
        await own.aclose()
        async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="key-of-a-test", max_retries=0) as sdk:
            async for _ in await sdk.responses.create(**ASKED):
                pass
        ours, theirs = server.requests
    assert ours.body == theirs.body
    assert (ours.path, ours.headers["authorization"]) == (theirs.path, theirs.headers["authorization"])


@pytest.mark.parametrize("version", ["", "preview"])
async def test_our_request_to_azure_is_the_sdks_request(version: str) -> None:
    query = f"?api-version={version}" if version else ""
    with ModelServer([Turn(text="done", times=None)]) as server:
        url = f"{server.url}/openai"
        env = {"AZURE_API_KEY": "key-of-a-test", "AZURE_BASE_URL": url, "AZURE_API_VERSION": version}
        own = spec(AZURE).factory(ProviderContext(settings={}, env=env, cache_dir=Path("unused")))
        await answer(own, QUESTION)
        await own.aclose()
        # The vendor's advice for its version 1: the plain client, with the key as either header.
        async with openai.AsyncOpenAI(
            base_url=f"{url}/v1",
            api_key="key-of-a-test",
            default_headers={"api-key": "key-of-a-test"},
            default_query={"api-version": version} if version else None,
            max_retries=0,
        ) as sdk:
            async for _ in await sdk.responses.create(**ASKED):
                pass
        ours, theirs = server.requests
    assert ours.body == theirs.body
    assert (ours.target, ours.headers["api-key"]) == (theirs.target, theirs.headers["api-key"])
    assert ours.target == f"/openai/v1/responses{query}"
    assert "authorization" not in ours.headers


async def test_our_request_to_a_deployment_is_the_sdks_request() -> None:
    asked = question(model="my-deployment", reasoning_tokens=2048)
    with ModelServer([Turn(text="done", times=None)]) as server:
        version = "2025-04-01-preview"
        settings = {"baseUrl": f"{server.url}/openai", "useDeploymentBasedUrls": True, "apiVersion": version}
        env = {"AZURE_API_KEY": "key-of-a-test"}
        own = spec(AZURE).factory(ProviderContext(settings=settings, env=env, cache_dir=Path("unused")))
        await answer(own, asked)
        await own.aclose()
        async with openai.AsyncAzureOpenAI(
            azure_endpoint=server.url, api_version=version, api_key="key-of-a-test", max_retries=0
        ) as sdk:
            stream = await sdk.chat.completions.create(
                **{key: value for key, value in server.requests[0].body.items() if key != "stream"}, stream=True
            )
            async for _ in stream:
                pass
        ours, theirs = server.requests
    assert (ours.target, ours.body, ours.headers["api-key"]) == (theirs.target, theirs.body, theirs.headers["api-key"])


async def test_the_sdk_reads_the_scripted_stream_as_we_do() -> None:
    turn = streamed_turn(reasoning_tokens=9)
    with ModelServer([turn]) as server:
        own = provider(server)
        ours = await answer(own, question())
        await own.aclose()
        async with (
            openai.AsyncOpenAI(base_url=server.openai_url, api_key="key-of-a-test", max_retries=0) as sdk,
            sdk.responses.stream(model="m", input="hi") as stream,
        ):
            theirs = await stream.get_final_response()
    reasoning, message, *calls = theirs.output
    assert ours.text == message.content[0].text == turn.text
    assert ours.reasoning == reasoning.summary[0].text == turn.reasoning
    assert (ours.signatures, reasoning.id) == (("openai:rs_0:signature-of-a-test",), "rs_1")
    assert reasoning.encrypted_content == turn.signature
    assert [(c.id[:4], c.name, c.raw_args) for c in ours.calls] == [(c.call_id[:4], c.name, c.arguments) for c in calls]
    assert ours.finish.usage == turn.usage
    assert theirs.usage.input_tokens_details.cached_tokens == turn.usage.cached_input_tokens
    assert theirs.usage.output_tokens_details.reasoning_tokens == turn.usage.reasoning_tokens
