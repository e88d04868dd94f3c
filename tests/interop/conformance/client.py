"""A client for the conformance suite: ``client.py {http|stdio} URL``. It does what a run would do with each tool.

Everything that is tested is perstack's own session; this only opens the way to the loopback interface, and plays the
person, who accepts what is suggested.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
from perstack.errors import ToolError
from perstack.messages import JsonObject, JsonValue
from perstack.outbound.transport import Reach
from perstack.protocols import ConnectRequest, Question, Sample, SkillSession
from perstack.skill_policy import BUILT_IN, SkillPolicy
from perstack.tools.remote.transport import RemoteTransport

BRIDGE = Path(__file__).with_name("bridge.py")
ASKING = ("elicitation", "sep-2322")
SECONDS = 20.0
SAMPLES: dict[object, JsonValue] = {"integer": 2, "number": 2, "boolean": True, "array": [], "object": {}}


def policy(url: str) -> SkillPolicy:
    asks = os.environ.get("MCP_CONFORMANCE_SCENARIO", "").startswith(ASKING)
    return SkillPolicy(
        expert="conformance",
        skill="server",
        kind="mcpHttpSkill",
        origin=BUILT_IN,
        endpoint=url,
        allow_elicitation=asks,
        allow_sampling=asks,
    )


async def accepts(question: Question) -> JsonObject:
    """What a person gives who presses Enter at each field: its default, or something of its type."""
    fields = question.schema.get("properties")
    assert isinstance(fields, dict)
    return {name: sample(field) for name, field in fields.items()}


def sample(field: JsonValue) -> JsonValue:
    if not isinstance(field, dict):
        return "text"
    options = field.get("enum")
    return field.get("default", options[0] if isinstance(options, list) else SAMPLES.get(field.get("type"), "text"))


async def completes(_asked: Sample) -> str:
    return "A short answer."


async def use(session: SkillSession) -> None:
    """Call every tool with arguments that its schema asks for, or those that the scenario names."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    calls = [(call["name"], call["arguments"]) for call in context.get("toolCalls", [])]
    for tool in session.tools if not calls else ():
        fields = tool.input_schema.get("properties")
        wanted = fields.items() if isinstance(fields, dict) else ()
        calls.append((tool.name, {name: sample(field) for name, field in wanted}))
    for name, args in calls:
        try:
            await session.call(name, args, timeout=SECONDS)
        except ToolError as error:
            sys.stderr.write(f"{name}: {error}\n")


def connecting(kind: str, url: str, process: object) -> AbstractAsyncContextManager[SkillSession]:
    def tell(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    async def here(_host: str, _port: int) -> tuple[str, ...]:
        return ("127.0.0.1",)

    request = ConnectRequest(
        policy=policy(url),
        process=process,
        workspace=Path("/workspace"),
        violation=tell,
        notice=tell,
        elicit=accepts,
        complete=completes,
    )
    if kind == "http":
        way = Reach(resolve=here, refusal=lambda _: None, schemes=frozenset({"http"}))
        return RemoteTransport("http", reach=way).connect(request)
    from perstack.tools.stdio import StdioTransport

    return StdioTransport().connect(request)


class Piped:
    """The bridge as a sandbox's process."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self._process = process

    async def send(self, data: bytes) -> None:
        await self._process.stdin.send(data)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            return await self._process.stdout.receive(max_bytes)
        except anyio.EndOfStream:
            return b""

    async def terminate(self, *, grace: float) -> None:
        self._process.terminate()


async def main(kind: str, url: str) -> None:
    if kind == "http":
        async with connecting(kind, url, None) as session:
            await use(session)
        return
    async with await anyio.open_process([sys.executable, str(BRIDGE), url], stderr=None) as process:
        async with connecting(kind, url, Piped(process)) as session:
            await use(session)
        process.terminate()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:3])
