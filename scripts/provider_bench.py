"""What providers cost: their first request above a bare HTTP client's, and how fast they take a streamed answer."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import ModuleType

import perstack_provider_anthropic.plugin
import perstack_provider_bedrock.plugin
import perstack_provider_google.plugin
import perstack_provider_openai.plugin
from perstack.checkpoints import Checkpoint, ExpertRef
from perstack.engine.asking import StreamView
from perstack.engine.recorder import Recorder
from perstack.engine.state import JobState
from perstack.events import StartRun
from perstack.messages import JsonValue, Usage
from perstack.protocols import TextDelta
from perstack.redaction import Redactor
from perstack.specs import ProviderContext
from perstack.testing.answers import question
from perstack.testing.model_server import ModelServer, Raw, Turn
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.model_server.server import WIRES

DELTAS = 10_000
PIECE = 4
BARE = """
import asyncio, httpx2
async def main():
    async with httpx2.AsyncClient(trust_env=False) as client:
        body = b'{{"model": "m", "messages": [], "stream": true}}'
        async with client.stream("POST", {url!r}, content=body) as answer:
            async for _ in httpx2.EventSource(answer):
                pass
asyncio.run(main())
"""
OURS = """
import asyncio
from pathlib import Path
from {module} import perstack_register_providers
from perstack.messages import TextPart, UserMessage
from perstack.protocols import GenerateRequest
from perstack.specs import ProviderContext
async def main():
    (spec,) = (one for one in perstack_register_providers() if one.name == {provider!r})
    provider = spec.factory(ProviderContext(settings={settings!r}, env={env!r}, cache_dir=Path()))
    said = UserMessage(id="1", contents=(TextPart(text="hello"),))
    async for _ in provider.generate(GenerateRequest(model="m", messages=(said,), tools=(), timeout=60.0)):
        pass
    await provider.aclose()
asyncio.run(main())
"""
PEAK = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


class Unwritten:
    """A journal that counts what it is to keep: deltas are shown and never stored."""

    head = ""

    def __init__(self) -> None:
        self.kept = 0

    def append(self, event: bytes) -> None:
        self.kept += bool(event)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A provider whose server is the scripted one; `path` follows the server's URL in its base URL."""

    provider: str
    plugin: ModuleType
    path: str
    env: dict[str, str]
    settings: dict[str, JsonValue]
    wire: str


KEY = "bench-key-of-no-value"
OPENAI, GOOGLE = perstack_provider_openai.plugin, perstack_provider_google.plugin
AWS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": KEY, "AWS_REGION": "us-east-1"}
GEMINI = {"GOOGLE_GENERATIVE_AI_API_KEY": KEY}


def _case(provider: str, plugin: ModuleType, wire: str, path: str = "", *, api: str = "", **env: str) -> Case:
    settings: dict[str, JsonValue] = {"api": api} if api else {}
    return Case(provider=provider, plugin=plugin, path=path, env=env, settings=settings, wire=wire)


CASES = {
    "chat": _case("openai", OPENAI, "openai-chat", "/v1", OPENAI_API_KEY=KEY),
    "responses": _case("openai", OPENAI, "openai-responses", "/v1", api="responses", OPENAI_API_KEY=KEY),
    "anthropic": _case("anthropic", perstack_provider_anthropic.plugin, "anthropic-messages", ANTHROPIC_API_KEY=KEY),
    "google": _case("google", GOOGLE, "google-generate", "/v1beta", **GEMINI),
    "bedrock": _case("amazon-bedrock", perstack_provider_bedrock.plugin, "bedrock-converse", **AWS),
}


async def one_request(name: str, url: str) -> int:
    """The number of text deltas that the provider made of one answer."""
    case = CASES[name]
    (spec,) = (one for one in case.plugin.perstack_register_providers() if one.name == case.provider)
    settings = {**case.settings, "baseUrl": url + case.path}
    provider = spec.factory(ProviderContext(settings=settings, env=case.env, cache_dir=Path()))
    count = 0
    async with aclosing(provider.generate(question(timeout=60.0))) as stream:
        async for part in stream:
            count += isinstance(part, TextDelta)
    await provider.aclose()
    return count


def first_request(name: str, runs: int) -> float:
    """Seconds of a process that imports the provider and asks once, above one that uses the HTTP client alone."""
    with ModelServer([Turn(text="hello", times=None)]) as server:
        bare = BARE.format(url=f"{server.openai_url}/chat/completions")
        case = CASES[name]
        settings = {**case.settings, "baseUrl": server.url + case.path}
        module = case.plugin.__name__
        ours = OURS.format(module=module, provider=case.provider, settings=settings, env=case.env)
        return median(_seconds(ours) - _seconds(bare) for _ in range(runs))  # in turns: other work hits both


def deltas_per_second(name: str, runs: int) -> float:
    """Text deltas that the provider makes of an answer that is there as fast as it reads."""
    with ModelServer([_streamed(CASES[name], DELTAS)]) as server:
        return DELTAS / median(_reading(name, server.url) for _ in range(runs))


def shown_deltas_per_second(runs: int) -> float:
    """Text deltas that the engine redacts, records and shows."""
    return DELTAS / median(_showing() for _ in range(runs))


def memory_of_deltas(name: str) -> float:
    """Bytes that an answer of ten times as many deltas needs more, in a process that only reads it."""
    few, many = (_peak(name, count) for count in (DELTAS, 10 * DELTAS))
    return many - few


def _streamed(case: Case, deltas: int) -> Turn:
    """A whole answer of so many pieces."""
    wire = next(wire for wire in WIRES if wire.name == case.wire)
    request = ModelRequest(
        index=0,
        wire=wire.name,
        path="/",
        target="/",
        headers={},
        raw=b'{"model": "m", "stream_options": {"include_usage": true}}',
        in_flight=1,
        connection=1,
        arrived=0.0,
    )
    turn = Turn(text="word" * deltas, piece=PIECE, usage=Usage(input_tokens=1, output_tokens=deltas))
    body = b"".join(wire.events(turn, request))
    return Turn(fault=Raw(body=body, content_type=wire.content_type.partition(";")[0]), times=None)


def _reading(name: str, url: str) -> float:
    """Seconds of this thread, so that those of the server's do not count."""
    gc.collect()
    started = time.thread_time()
    if asyncio.run(one_request(name, url)) != DELTAS:
        raise RuntimeError("deltas were lost")
    return time.thread_time() - started


def _showing() -> float:
    shown: list[int] = []
    journal = Unwritten()
    recorder = Recorder(
        job_id="job",
        journal=journal,
        redactor=Redactor({"A_KEY": "secret-of-the-bench"}),
        watchers=(lambda _event, data: shown.append(len(data)),),
        state=JobState(),
    )
    recorder.record(started_run(recorder))
    view = StreamView(recorder, lambda: {**recorder.stamp("run"), "expert_key": "one", "step_number": 1})
    gc.collect()
    started = time.thread_time()
    for _ in range(DELTAS):
        view.text("word")
    view.end()
    seconds = time.thread_time() - started
    if len(shown) < DELTAS or journal.kept != 1:
        raise RuntimeError("deltas were not shown, or were stored")
    return seconds


def started_run(recorder: Recorder) -> StartRun:
    """The beginning of a run that deltas can belong to."""
    expert = ExpertRef(key="one", name="one", version="1.0.0")
    checkpoint = Checkpoint(
        id="c", job_id="job", run_id="run", status="init", step_number=0, expert=expert, usage=Usage(), message_count=0
    )
    stamp = recorder.stamp("run")
    return StartRun(**stamp, expert_key="one", step_number=0, initial_checkpoint=checkpoint, input_messages=())


def _peak(name: str, deltas: int) -> int:
    """The most bytes of memory that a process needed that read so many deltas. It needs Linux."""
    case = CASES[name]
    with ModelServer([_streamed(case, deltas)]) as server:
        settings = {**case.settings, "baseUrl": server.url + case.path}
        ours = OURS.format(module=case.plugin.__name__, provider=case.provider, settings=settings, env=case.env)
        done = subprocess.run([sys.executable, "-c", ours + PEAK], check=True, timeout=60, capture_output=True)
    return int(done.stdout) * 1024


def _seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    return time.perf_counter() - started
