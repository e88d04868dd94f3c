"""The vendor's own SDK says what the format is: it sends what we send, and reads what we read."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from google import genai
from google.genai import types
from model_conversation import PDF, PNG, TOOLS, conversation, streamed_turn
from perstack.protocols import Provider
from perstack.specs import ProviderContext
from perstack.testing.answers import answer, question
from perstack.testing.model_server import ModelServer, Turn
from perstack_provider_google.plugin import spec
from perstack_provider_google.profiles import GEMINI
from pydantic.alias_generators import to_camel

MODEL = "gemini-2.5-flash"
IMAGE = types.Part(inline_data=types.Blob(mime_type="image/png", data=base64.b64decode(PNG)))


def call(name: str, path: str) -> types.FunctionCall:
    return types.FunctionCall(id=name, name="readFile", args={"path": path})


def result(name: str, said: dict[str, str]) -> types.Part:
    return types.Part(function_response=types.FunctionResponse(id=name, name="readFile", response=said))


SDK_CONTENTS = [
    types.Content(
        role="user",
        parts=[
            types.Part(text="Compare these."),
            IMAGE,
            types.Part(inline_data=types.Blob(mime_type="application/pdf", data=base64.b64decode(PDF))),
        ],
    ),
    types.Content(
        role="model",
        parts=[
            types.Part(text="I read both."),
            types.Part(
                function_call=call("call_a", "grün.txt"),
                thought_signature=base64.b64decode(b"skip_thought_signature_validator" + b"====", b"-_"),
            ),
            types.Part(function_call=call("call_b", "b.png")),
        ],
    ),
    types.Content(
        role="user",
        parts=[result("call_a", {"error": "no such file"}), result("call_b", {"output": ""}), IMAGE],
    ),
    types.Content(role="model", parts=[types.Part(text="One is missing.")]),
    types.Content(role="user", parts=[types.Part(text="Go on.")]),
]


def provider(server: ModelServer) -> Provider:
    settings = {"baseUrl": f"{server.url}/v1beta"}
    env = {"GOOGLE_GENERATIVE_AI_API_KEY": "key-of-a-test"}
    return spec(GEMINI).factory(ProviderContext(settings=settings, env=env, cache_dir=Path("unused")))


def sdk(server: ModelServer) -> genai.Client:
    return genai.Client(
        api_key="key-of-a-test", http_options=types.HttpOptions(base_url=server.url, api_version="v1beta")
    )


def plain(value: object, key: str = "") -> object:
    """The form without the format's freedoms: names in either case, and base64 in either alphabet."""
    if isinstance(value, dict):
        return {to_camel(name): plain(item, to_camel(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if key in {"data", "thoughtSignature"}:
        return str(value).translate(str.maketrans("-_", "+/"))
    return value


@pytest.fixture(autouse=True)
def _no_google_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI"):
        monkeypatch.delenv(name, raising=False)


async def test_our_request_is_the_sdks_request() -> None:
    with ModelServer([Turn(text="done", times=None)]) as server:
        own = provider(server)
        asked = question(*conversation(), model=MODEL, tools=TOOLS, reasoning_tokens=5000, max_output_tokens=900)
        await answer(own, asked)
        await own.aclose()
        declared = [
            types.FunctionDeclaration(name=t.name, description=t.description, parameters_json_schema=t.input_schema)
            for t in TOOLS
        ]
        with sdk(server) as client:
            stream = client.models.generate_content_stream(
                model=MODEL,
                contents=SDK_CONTENTS,
                config=types.GenerateContentConfig(
                    system_instruction="You are careful.",
                    tools=[types.Tool(function_declarations=declared)],
                    max_output_tokens=900,
                    thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=5000),
                ),
            )
            assert list(stream)
        ours, theirs = server.requests
    expected = theirs.body
    assert expected["systemInstruction"].pop("role") == "user", "which says nothing"
    assert plain(ours.body) == plain(expected)
    assert ours.target == theirs.target
    assert ours.headers["x-goog-api-key"] == theirs.headers["x-goog-api-key"]


async def test_the_sdk_reads_the_scripted_stream_as_we_do() -> None:
    turn = streamed_turn(signature="c2lnbmVk", reasoning_tokens=9)
    with ModelServer([turn]) as server:
        own = provider(server)
        ours = await answer(own, question(model=MODEL))
        await own.aclose()
        with sdk(server) as client:
            chunks = list(client.models.generate_content_stream(model=MODEL, contents="hi"))
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
    calls = [part for part in parts if part.function_call]
    assert ours.text == "".join(part.text for part in parts if part.text and not part.thought) == turn.text
    assert ours.reasoning == "".join(part.text for part in parts if part.thought) == turn.reasoning
    assert [(c.name, c.args) for c in ours.calls] == [(c.function_call.name, c.function_call.args) for c in calls]
    assert [c.signature for c in ours.calls] == ["google:c2lnbmVk", None]
    assert calls[0].thought_signature == base64.b64decode("c2lnbmVk")
    assert chunks[-1].candidates[0].finish_reason.value == "STOP"
    assert (ours.finish.reason, ours.finish.usage) == ("tool-calls", turn.usage)
    counted = chunks[-1].usage_metadata
    assert counted.candidates_token_count + counted.thoughts_token_count == turn.usage.output_tokens
