"""The vendor's own SDK says what the format is: it sends what we send, and reads what we read."""

from __future__ import annotations

from pathlib import Path

import openai
from model_conversation import PDF, PNG, TOOLS, conversation, streamed_turn
from perstack.specs import ProviderContext
from perstack.testing.answers import answer, question
from perstack.testing.model_server import ModelServer, Turn
from perstack_provider_openai.plugin import spec
from perstack_provider_openai.profiles import OPENAI

SDK_MESSAGES = [
    {"role": "system", "content": "You are careful."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Compare these."},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {
                "type": "file",
                "file": {"filename": "document.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
            },
        ],
    },
    {
        "role": "assistant",
        "content": "I read both.",
        "tool_calls": [
            {
                "id": "call_a",
                "type": "function",
                "function": {"name": "readFile", "arguments": '{"path":"grün.txt"}'},
            },
            {"id": "call_b", "type": "function", "function": {"name": "readFile", "arguments": '{"path":"b.png"}'}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_a", "content": "no such file"},
    {"role": "tool", "tool_call_id": "call_b", "content": "The content follows in the next message."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "From the result of readFile (call_b):"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ],
    },
    {"role": "assistant", "content": "One is missing."},
    {"role": "user", "content": "Go on."},
]


def context(server: ModelServer) -> ProviderContext:
    return ProviderContext(
        settings={"baseUrl": server.openai_url, "project": "project-of-the-settings"},
        env={
            "OPENAI_API_KEY": "key-of-a-test",
            "OPENAI_ORGANIZATION": "org-of-the-environment",
            "OPENAI_PROJECT": "project-of-the-environment",
        },
        cache_dir=Path("unused"),
    )


async def test_our_request_is_the_sdks_request() -> None:
    with ModelServer([Turn(text="done", times=None)]) as server:
        provider = spec(OPENAI).factory(context(server))
        asked = question(*conversation(), model="gpt-5", tools=TOOLS, reasoning_tokens=5000, max_output_tokens=900)
        await answer(provider, asked)
        await provider.aclose()
        async with openai.AsyncOpenAI(
            base_url=server.openai_url,
            api_key="key-of-a-test",
            organization="org-of-the-environment",
            project="project-of-the-settings",
            max_retries=0,
        ) as sdk:
            stream = await sdk.chat.completions.create(
                model="gpt-5",
                messages=SDK_MESSAGES,
                tools=[
                    {
                        "type": "function",
                        "function": {"name": t.name, "description": t.description, "parameters": t.input_schema},
                    }
                    for t in TOOLS
                ],
                reasoning_effort="medium",
                max_completion_tokens=900,
                stream=True,
                stream_options={"include_usage": True},
            )
            async for _ in stream:
                pass
        ours, theirs = server.requests
    assert ours.body == theirs.body
    assert ours.path == theirs.path
    for name in ("authorization", "openai-organization", "openai-project", "content-type"):
        assert ours.headers[name] == theirs.headers[name]


async def test_the_sdk_reads_the_scripted_stream_as_we_do() -> None:
    turn = streamed_turn(reasoning_tokens=9)
    with ModelServer([turn]) as server:
        provider = spec(OPENAI).factory(context(server))
        ours = await answer(provider, question())
        await provider.aclose()
        async with (
            openai.AsyncOpenAI(base_url=server.openai_url, api_key="key-of-a-test", max_retries=0) as sdk,
            sdk.chat.completions.stream(
                model="m", messages=[{"role": "user", "content": "hi"}], stream_options={"include_usage": True}
            ) as stream,
        ):
            theirs = await stream.get_final_completion()
    message = theirs.choices[0].message
    assert ours.text == message.content == turn.text
    assert ours.reasoning == message.reasoning_content == turn.reasoning
    assert [(c.name, c.raw_args) for c in ours.calls] == [
        (c.function.name, c.function.arguments) for c in message.tool_calls
    ]
    assert (ours.finish.reason, theirs.choices[0].finish_reason) == ("tool-calls", "tool_calls")
    assert ours.finish.usage == turn.usage
    assert theirs.usage.prompt_tokens == turn.usage.input_tokens
    assert theirs.usage.prompt_tokens_details.cached_tokens == turn.usage.cached_input_tokens
    assert theirs.usage.completion_tokens_details.reasoning_tokens == turn.usage.reasoning_tokens
