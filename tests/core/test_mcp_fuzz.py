"""AM6: servers that say anything at any time. Nothing but the named errors comes out, and nobody waits in vain."""

from __future__ import annotations

import json
from contextlib import suppress

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_server import MemoryServer, answer
from perstack.errors import SkillError, ToolError
from perstack.protocols import SkillTool
from perstack.tools.arguments import output_problems
from perstack.tools.results import to_outcome
from perstack.tools.suspicion import suspicions
from remote_server import HttpServer, Told, connected
from starlette.responses import Response

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = [
    "protocolVersion",
    "capabilities",
    "serverInfo",
    "tools",
    "nextCursor",
    "content",
    "isError",
    "type",
    "text",
    "structuredContent",
    "name",
    "version",
    "inputSchema",
    "outputSchema",
    "description",
    "data",
    "mimeType",
]
OBJECTS = st.dictionaries(
    st.sampled_from(KEYS),
    VALUES
    | st.just("2025-11-25")
    | st.just({"tools": {}})
    | st.lists(st.fixed_dictionaries({"name": st.text(max_size=5), "inputSchema": st.just({})}), max_size=3),
    max_size=6,
)
FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@FUZZ
@given(st.dictionaries(st.sampled_from(["initialize", "tools/list", "tools/call"]), OBJECTS, min_size=1))
def test_AM6_whatever_a_server_answers_at_any_stage_is_a_session_or_a_named_error(answers) -> None:
    def reaction(result):
        return lambda message: [answer(message, result)]

    async def run() -> None:
        server = MemoryServer(on={method: reaction(result) for method, result in answers.items()})
        try:
            with anyio.fail_after(10):
                async with server.connected(handshake_seconds=5) as session:
                    assert all(isinstance(tool, SkillTool) for tool in session.tools)
                    outcome = await session.call("tool", {}, timeout=5)
                    assert isinstance(outcome.contents, tuple)
        except (SkillError, ToolError) as error:
            said = str(error)
        else:
            said = ""
        assert not set("\x1b\n") & set(said)

    anyio.run(run)


@FUZZ
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12))
def test_AM6_answers_in_any_order_any_number_of_times_reach_their_own_calls(order) -> None:
    async def run() -> None:
        asked: list[dict[str, object]] = []
        server = MemoryServer(on={"tools/call": lambda message: asked.append(message) or []})
        got: dict[int, str] = {}
        async with server.connected() as session, anyio.create_task_group() as tasks:

            async def one(number: int) -> None:
                outcome = await session.call("tool", {"n": number}, timeout=10)
                got[number] = outcome.contents[0].text

            for number in range(6):
                tasks.start_soon(one, number)
            await anyio.wait_all_tasks_blocked()
            rest = [(number, False) for number in range(6)]
            for number, as_text in [*order, *rest]:
                ident = asked[number]["id"]
                reply = answer(asked[number], {"content": [{"type": "text", "text": f"for {number}"}]})
                server.emit({**reply, "id": str(ident)} if as_text else reply)
        assert got == {number: f"for {number}" for number in range(6)}

    anyio.run(run)


@FUZZ
@given(OBJECTS, VALUES)
def test_AM6_any_result_and_any_schema_are_survived(result, schema) -> None:
    outcome = to_outcome(result)
    json.dumps([part.__class__.__name__ for part in outcome.contents])
    schemas = schema if isinstance(schema, dict) else {}
    tool = SkillTool(name="t", description="", input_schema=schemas, output_schema=schemas)
    assert isinstance(output_problems(tool, outcome), str)
    assert isinstance(suspicions(tool), tuple)


async def test_AM6_whatever_a_remote_server_answers_is_a_tool_error_and_the_next_call_works() -> None:
    bodies = [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b'{"jsonrpc":"2.0","id":99,"result":{"content":[]}}',
        b'{"jsonrpc":"2.0","id":1,"result":[]}',
        b'{"jsonrpc":"2.0","id":1}',
        b"[" * 5000,
        b'data: {"jsonrpc":"2.0"}\n\n',
        b"event: message\ndata: \x1b[31m\n\n",
        b": only a comment\n\n",
    ]
    server, told = HttpServer(), Told()
    with server.served() as url:
        async with connected(url, told=told) as session:
            for body in bodies:
                for kind in ("application/json", "text/event-stream", "text/html"):
                    server.on = {"tools/call": lambda _, body=body, kind=kind: Response(body, media_type=kind)}
                    with suppress(ToolError):
                        await session.call("tool", {}, timeout=0.5)
            server.on = {}
            assert (await session.call("tool", {}, timeout=10)).contents
    assert "\x1b" not in "".join(told.violations)
