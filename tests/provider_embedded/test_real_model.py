"""The real model: what it writes is valid and its own, and it can be stopped."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path

import anyio
import jsonschema
import pytest
from embedded import COPY, FINISH, TOOLS, task, tool, work
from perstack.errors import ProviderError
from perstack.messages import JsonObject, ToolDefinition
from perstack.protocols import TextDelta
from perstack.testing.answers import answer, question
from perstack_provider_embedded.provider import EmbeddedProvider

pytestmark = pytest.mark.model
WORDS = ["amber", "basalt", "cedar", "delta", "ember", "fjord", "lagoon", "harbor", "iris", "juniper"]
"""All of their pairs were tried; so small a model writes some other words, such as names, with a capital."""
SCHEMAS = {one.name: one.input_schema for one in TOOLS}


@pytest.mark.parametrize("shape", ["{word}-{number}", "{word} {other} {number}", "{number}"])
async def test_the_demo_copies_a_text_that_nobody_could_know_before(provider: EmbeddedProvider, shape: str) -> None:
    word, other = secrets.choice(WORDS), secrets.choice(WORDS)
    text = shape.format(word=word, other=other, number=secrets.randbelow(10**6))
    files = {"name.txt": text}
    answers = await work(provider, COPY, files)
    assert files == {"name.txt": text, "copy.txt": text}
    assert [call.name for said in answers for call in said.calls] == ["readTextFile", "writeTextFile", FINISH.name]
    for call in (call for said in answers for call in said.calls):
        jsonschema.validate(call.args, SCHEMAS[call.name])
    assert answers[-1].text
    assert answers[-1].finish.reason == "tool-calls"


@pytest.mark.parametrize("tools", [(), TOOLS], ids=["alone", "beside tools"])
async def test_an_answer_is_of_the_schema_that_was_asked_for(
    provider: EmbeddedProvider, tools: tuple[ToolDefinition, ...]
) -> None:
    properties = {"color": {"enum": ["red", "green"]}, "count": {"type": "integer", "minimum": 3, "maximum": 5}}
    schema: JsonObject = {"type": "object", "properties": properties, "required": ["color", "count"]}
    asked = task("Say a color and a count.", instruction="You answer at once, with JSON.")
    said = await answer(provider, question(*asked, model="smollm2", tools=tools, output_schema=schema, timeout=60))
    if said.text or not tools:
        jsonschema.validate(json.loads(said.text), schema)


HARD: dict[str, JsonObject] = {
    "choice": {"enum": ["red", "green", None]},
    "count": {"type": "integer", "minimum": 3, "maximum": 5},
    "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    "list": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
    "nested": {"type": "object", "properties": {"deep": {"type": "number"}}, "required": ["deep"]},
    "reference": {"$ref": "#/properties/choice"},
}


async def test_every_call_is_valid_whatever_the_schema(provider: EmbeddedProvider) -> None:
    hard = tool("paint.the-house_9", "Paint the house.", tuple(HARD), **HARD)
    conversation = task("Paint the house red, three times.", instruction="You paint houses. Always call the tool.")
    said = await answer(provider, question(*conversation, model="smollm2", tools=(hard,), timeout=60))
    assert said.finish.reason in ("tool-calls", "stop")
    for call in said.calls:
        assert call.name == hard.name
        jsonschema.validate(call.args, hard.input_schema)


async def test_tokens_are_counted_and_a_repeated_prompt_is_cached(provider: EmbeddedProvider) -> None:
    request = question(*task(COPY), model="smollm2", tools=TOOLS, timeout=60)
    first, second = await answer(provider, request), await answer(provider, request)
    usage = first.finish.usage
    assert 200 < usage.input_tokens < 1000
    assert 5 < usage.output_tokens < 60
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.cached_input_tokens == 0
    assert second.finish.usage.cached_input_tokens >= usage.input_tokens - 1
    assert [call.args for call in first.calls] == [call.args for call in second.calls], "it decodes greedily"


async def test_without_tools_it_answers_in_text(provider: EmbeddedProvider) -> None:
    said = await answer(provider, question(*task("Say hello.", instruction="Be brief."), model="smollm2", timeout=60))
    assert said.finish.reason == "stop"
    assert said.text
    assert said.calls == ()


async def test_an_answer_that_is_cut_says_so_and_holds_no_half_call(provider: EmbeddedProvider) -> None:
    request = question(*task(COPY), model="smollm2", tools=TOOLS, timeout=60, max_output_tokens=4)
    said = await answer(provider, request)
    assert said.finish.reason == "length"
    assert said.finish.usage.output_tokens == 4
    assert said.calls == ()
    assert not any(isinstance(part, TextDelta) for part in said.parts)


async def test_a_conversation_that_does_not_fit_is_an_error_that_says_what_to_do(provider: EmbeddedProvider) -> None:
    with pytest.raises(ProviderError, match=r"has \d+ tokens, and the model takes 4096") as caught:
        await answer(provider, question(*task("word " * 8000), model="smollm2", timeout=60))
    assert "read less" in caught.value.hint
    assert not caught.value.retryable


LONG = "Write a very long story about a lighthouse, with a hundred chapters."


async def test_cancelling_stops_the_generation_and_the_next_question_is_answered(provider: EmbeddedProvider) -> None:
    await answer(provider, question(*task("Say hi."), model="smollm2", timeout=60, max_output_tokens=1))
    endless = question(*task(LONG), model="smollm2", timeout=60, max_output_tokens=3000)
    with anyio.move_on_after(0.5) as scope:
        await answer(provider, endless)
    assert scope.cancelled_caught
    started = time.monotonic()
    await answer(provider, question(*task("Say hi."), model="smollm2", timeout=60, max_output_tokens=1))
    assert time.monotonic() - started < 5, "the cancelled answer would take another 20 seconds"


async def test_time_that_runs_out_is_an_error(provider: EmbeddedProvider) -> None:
    await answer(provider, question(*task("Say hi."), model="smollm2", timeout=60, max_output_tokens=1))
    with pytest.raises(ProviderError, match=r"did not finish within 0\.2 s"):
        await answer(provider, question(*task(LONG), model="smollm2", timeout=0.2, max_output_tokens=3000))


async def test_questions_that_come_together_are_answered_one_after_another(provider: EmbeddedProvider) -> None:
    said = await asyncio.gather(
        *(answer(provider, question(*task(COPY), model="smollm2", tools=TOOLS, timeout=60)) for _ in range(3))
    )
    assert {str(one.calls[0].args) for one in said} == {"{'path': 'name.txt'}"}


async def test_closing_again_or_unused_is_harmless(provider: EmbeddedProvider, cache: Path) -> None:
    unused = EmbeddedProvider(cache_dir=cache, threads=1, context=1024)
    await unused.aclose()
    await unused.aclose()


async def test_a_file_that_llama_cpp_cannot_load_is_an_error_that_names_it(tmp_path, cache: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + secrets.token_bytes(4096))
    provider = EmbeddedProvider(cache_dir=cache, threads=1, context=1024)
    with pytest.raises(ProviderError, match=r"cannot load the weights .*broken\.gguf"):
        await answer(provider, question(*task("Hi."), model=str(broken), timeout=60))


QUIET = """
import os, pathlib, signal, sys
from perstack_provider_embedded.engine import Engine

received = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: received.append(number))
engine = Engine(pathlib.Path(sys.argv[1]), threads=1, context=512)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.raise_signal(number)
assert received == [signal.SIGINT, signal.SIGTERM], "llama.cpp took a signal"

if sys.platform == "linux":
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    own = {os.readlink(name) for name in names if os.path.lexists(name)}
    tcp = [row.split() for name in ("tcp", "tcp6") for row in open(f"/proc/net/{name}").readlines()[1:]]
    assert not own & {f"socket:[{row[9]}]" for row in tcp}, "it listens on TCP"
    unix = [row.split() for row in open("/proc/net/unix").readlines()[1:]]
    paths = [row[7] for row in unix if f"socket:[{row[6]}]" in own and len(row) > 7]
    assert paths, "the listener must be seen, or its absence proves nothing"
    assert not [path for path in paths if os.path.exists(path)], "its socket can be reached"
engine.close()
print("quiet")
"""


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs sockets with paths")
def test_loading_takes_no_signal_opens_no_port_and_says_nothing(cache: Path) -> None:
    weights = next((cache / "models").glob("*.gguf"))
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(weights)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "quiet\n", "")


async def test_leaving_the_answer_early_is_harmless(provider: EmbeddedProvider) -> None:
    async with aclosing(provider.generate(question(*task(COPY), model="smollm2", tools=TOOLS, timeout=60))) as stream:
        async for _ in stream:
            break
