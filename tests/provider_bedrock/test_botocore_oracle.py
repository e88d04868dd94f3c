"""AWS's own library says what the format is: it sends and signs what we send, and reads what we read."""

from __future__ import annotations

import base64
from pathlib import Path

import botocore.session
import pytest
from botocore.config import Config
from botocore.eventstream import EventStreamBuffer
from model_conversation import PDF, PNG, TOOLS, conversation, streamed_turn
from perstack.protocols import Provider
from perstack.specs import ProviderContext
from perstack.testing.answers import answer, question
from perstack.testing.model_server import ModelServer, Turn
from perstack.testing.model_server.bedrock_converse import framed
from perstack_provider_bedrock.framing import decoded
from perstack_provider_bedrock.plugin import perstack_register_providers

MODEL = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret-of-a-test", "AWS_SESSION_TOKEN": "token"}
CACHE = {"cachePoint": {"type": "default"}}
IMAGE = {"image": {"format": "png", "source": {"bytes": base64.b64decode(PNG)}}}
SDK_MESSAGES = [
    {
        "role": "user",
        "content": [
            {"text": "Compare these."},
            IMAGE,
            {"document": {"format": "pdf", "name": "document-2-2", "source": {"bytes": base64.b64decode(PDF)}}},
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "Two files.", "signature": "proof"}}},
            {"text": "I read both."},
            {"toolUse": {"toolUseId": "call_a", "name": "readFile", "input": {"path": "grün.txt"}}},
            {"toolUse": {"toolUseId": "call_b", "name": "readFile", "input": {"path": "b.png"}}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"toolResult": {"toolUseId": "call_a", "content": [{"text": "no such file"}], "status": "error"}},
            {"toolResult": {"toolUseId": "call_b", "content": [IMAGE], "status": "success"}},
        ],
    },
    {"role": "assistant", "content": [{"text": "One is missing."}]},
    {"role": "user", "content": [{"text": "Go on."}, CACHE]},
]


def provider(server: ModelServer) -> Provider:
    (spec,) = perstack_register_providers()
    settings = {"baseUrl": server.url, "region": "eu-central-1"}
    return spec.factory(ProviderContext(settings=settings, env=KEYS, cache_dir=Path("unused")))


def sdk(server: ModelServer):
    return botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=server.url,
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=KEYS["AWS_SESSION_TOKEN"],
        config=Config(retries={"total_max_attempts": 1}),
    )


async def test_our_request_is_the_sdks_request() -> None:
    with ModelServer([Turn(text="done", times=None)]) as server:
        own = provider(server)
        history = conversation(signature="bedrock:proof")
        asked = question(*history, model=MODEL, tools=TOOLS, reasoning_tokens=5000, max_output_tokens=20_000)
        await answer(own, asked)
        await own.aclose()
        specs = [{"name": t.name, "description": t.description, "inputSchema": {"json": t.input_schema}} for t in TOOLS]
        stream = sdk(server).converse_stream(
            modelId=MODEL,
            system=[{"text": "You are careful."}, CACHE],
            messages=SDK_MESSAGES,
            toolConfig={"tools": [*({"toolSpec": spec} for spec in specs), CACHE]},
            additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 5000}},
            inferenceConfig={"maxTokens": 20_000},
        )
        assert list(stream["stream"])
        ours, theirs = server.requests
    assert ours.body == theirs.body
    assert ours.target == theirs.target
    assert ours.headers["x-amz-security-token"] == theirs.headers["x-amz-security-token"]
    scope = "Credential=AKIDEXAMPLE/{day}/eu-central-1/bedrock/aws4_request"
    for request in (ours, theirs):
        assert scope.format(day=request.headers["x-amz-date"][:8]) in request.headers["authorization"]
    assert "secret-of-a-test" not in str(ours)


THINKING = {
    "anthropic.claude-opus-4-1-20250805-v1:0": ({"type": "enabled", "budget_tokens": 5000}, None),
    "us.anthropic.claude-opus-4-6-v1": ({"type": "adaptive", "display": "summarized"}, "medium"),
    "global.anthropic.claude-of-the-future": ({"type": "adaptive", "display": "summarized"}, "medium"),
    "anthropic.claude-3-5-sonnet-20241022-v2:0": (None, None),
}


@pytest.mark.parametrize("model", THINKING)
async def test_W_58_newer_claudes_get_an_effort_and_older_ones_a_number(model: str) -> None:
    thinking, effort = THINKING[model]
    with ModelServer([Turn(text="done", times=None)]) as server:
        own = provider(server)
        await answer(own, question(model=model, reasoning_tokens=5000, max_output_tokens=20_000))
        await own.aclose()
        extra = {"additionalModelRequestFields": {"thinking": thinking}} if thinking else {}
        output = {"outputConfig": {"effort": effort}} if effort else {}
        said = [{"role": "user", "content": [{"text": "x"}]}]
        assert list(sdk(server).converse_stream(modelId=model, messages=said, **extra, **output)["stream"])
        ours, theirs = server.requests
    for key in ("additionalModelRequestFields", "outputConfig"):
        assert ours.body.get(key) == theirs.body.get(key)


async def test_our_signature_is_the_one_that_the_sdk_makes_of_the_request_that_arrived() -> None:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    with ModelServer([Turn(text="done")]) as server:
        own = provider(server)
        await answer(own, question(model=MODEL))
        await own.aclose()
        (arrived,) = server.requests
    said = arrived.headers["authorization"]
    signed = said.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = AWSRequest(
        method="POST",
        url=f"{server.url}{arrived.target}",
        data=arrived.raw,
        headers={name: arrived.headers[name] for name in signed},
    )
    request.context["timestamp"] = arrived.headers["x-amz-date"]
    signer = SigV4Auth(Credentials(*KEYS.values()), "bedrock", "eu-central-1")
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert said.endswith(f"Signature={signature}")


async def test_the_sdk_reads_the_scripted_stream_as_we_do() -> None:
    turn = streamed_turn()
    with ModelServer([turn]) as server:
        own = provider(server)
        ours = await answer(own, question(model=MODEL))
        await own.aclose()
        stream = sdk(server).converse_stream(modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hi"}]}])
        theirs = list(stream["stream"])
    deltas = [event["contentBlockDelta"]["delta"] for event in theirs if "contentBlockDelta" in event]
    reasoning = [delta["reasoningContent"] for delta in deltas if "reasoningContent" in delta]
    assert ours.text == "".join(delta.get("text", "") for delta in deltas) == turn.text
    assert ours.reasoning == "".join(one.get("text", "") for one in reasoning) == turn.reasoning
    assert ours.signatures == ("bedrock:" + "".join(one.get("signature", "") for one in reasoning),)
    assert "".join(call.raw_args for call in ours.calls) == "".join(
        d["toolUse"]["input"] for d in deltas if "toolUse" in d
    )
    (counted,) = [event["metadata"]["usage"] for event in theirs if "metadata" in event]
    assert ours.finish.usage == turn.usage
    assert counted["inputTokens"] + counted["cacheReadInputTokens"] == turn.usage.input_tokens


@pytest.mark.parametrize("payload", [b"", b'{"a": "\xc3\xbc"}', b"x" * 70_000])
def test_the_sdk_reads_a_message_as_we_do(payload: bytes) -> None:
    message = framed({":event-type": "contentBlockDelta", ":message-type": "event"}, payload)
    buffer = EventStreamBuffer()
    buffer.add_data(message)
    (theirs,) = buffer
    ours = decoded(message)
    assert (ours.event, ours.data.encode()) == (theirs.headers[":event-type"], theirs.payload)
