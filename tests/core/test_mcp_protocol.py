"""The MCP client against servers that break, stretch or ignore the protocol."""

from __future__ import annotations

import json

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_server import ANY_OBJECT, MemoryServer, answer
from perstack.errors import SkillError, ToolError
from perstack.messages import text_of
from perstack.tools.stdio import PROTOCOL_VERSIONS

TIMEOUT = 5.0


def reply(message, text="fine"):
    return answer(message, {"content": [{"type": "text", "text": text}]})


async def call(session, timeout=TIMEOUT) -> str:
    return text_of((await session.call("tool", {}, timeout=timeout)).contents)


# --- the handshake ---------------------------------------------------------------------------------------------------


async def test_the_handshake_offers_the_newest_version_and_roots_and_nothing_else() -> None:
    server = MemoryServer()
    async with server.connected() as session:
        assert [tool.name for tool in session.tools] == ["tool"]
    hello = server.received[0]["params"]
    assert hello["protocolVersion"] == PROTOCOL_VERSIONS[0]
    assert hello["capabilities"] == {"roots": {}}
    assert server.methods() == ["initialize", "notifications/initialized", "tools/list"]


@pytest.mark.parametrize("version", PROTOCOL_VERSIONS)
async def test_an_older_version_of_the_protocol_is_accepted(version) -> None:
    async with MemoryServer(version=version).connected() as session:
        assert await call(session)


async def test_an_unknown_version_is_refused_and_named() -> None:
    with pytest.raises(SkillError, match="1999-12-31"):
        async with MemoryServer(version="1999-12-31").connected():
            pass


async def test_a_server_without_tools_is_not_asked_for_any() -> None:
    server = MemoryServer(capabilities={})
    async with server.connected() as session:
        assert session.tools == ()
    assert "tools/list" not in server.methods()


async def test_AM6_a_server_that_never_answers_is_given_up_in_time() -> None:
    with pytest.raises(SkillError, match=r"did not answer within 0\.05 s"):
        async with MemoryServer(on={"initialize": lambda _: []}).connected(handshake_seconds=0.05):
            pass


async def test_AM6_a_server_that_does_not_read_is_given_up_in_time() -> None:
    with pytest.raises(SkillError, match="did not answer"):
        async with MemoryServer(reads=False).connected(handshake_seconds=0.05):
            pass


async def test_W_41_every_page_of_tools_is_read() -> None:
    def pages(message):
        number = int(message.get("params", {}).get("cursor", 0))
        page = {"tools": [{"name": f"tool{number}", "inputSchema": ANY_OBJECT}]}
        return [answer(message, {**page, "nextCursor": str(number + 1)} if number < 9 else page)]

    async with MemoryServer(on={"tools/list": pages}).connected() as session:
        assert [tool.name for tool in session.tools] == [f"tool{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (lambda _: {"tools": [], "nextCursor": "same"}, "has no end"),
        (lambda cursor: {"tools": [], "nextCursor": f"{cursor or ''}x"}, "more than 100 pages"),
        (lambda _: {"tools": [], "nextCursor": "x" * 5000}, "has no end"),
        (lambda _: {"tools": [{"name": f"t{n}", "inputSchema": {}} for n in range(1001)]}, "more than 1000 tools"),
        (lambda _: {"tools": "all"}, "is not a list"),
    ],
    ids=["same-cursor", "endless", "huge-cursor", "many-tools", "no-list"],
)
async def test_AM6_a_list_of_tools_without_end_is_refused(page, reason) -> None:
    server = MemoryServer(
        on={"tools/list": lambda message: [answer(message, page(message.get("params", {}).get("cursor")))]}
    )
    with pytest.raises(SkillError, match=reason):
        async with server.connected():
            pass


@pytest.mark.parametrize(
    "tool",
    [
        "text",
        {"name": "", "inputSchema": {}},
        {"name": "x" * 200, "inputSchema": {}},
        {"name": 7, "inputSchema": {}},
        {"name": "other"},
        {"name": "other", "description": "x" * 20_000, "inputSchema": {}},
        {"name": "other", "inputSchema": {"enum": ["x" * 70_000]}},
        {"name": "other", "inputSchema": {"type": "string"}},
        {"name": "other", "inputSchema": {"type": ["object", "null"]}},
        {"name": "tool", "inputSchema": {}},
    ],
)
async def test_a_tool_that_breaks_a_bound_is_left_out_and_the_others_stay(tool) -> None:
    server = MemoryServer(tools=[{"name": "tool", "inputSchema": ANY_OBJECT}, tool])
    async with server.connected() as session:
        assert [tool.name for tool in session.tools] == ["tool"]
    assert len(server.violations) == 1


# --- calls -----------------------------------------------------------------------------------------------------------


async def test_answers_are_matched_by_id_and_not_by_order() -> None:
    asked = []

    def react(message):
        asked.append(message)
        return [reply(one, text=one["params"]["arguments"]["n"]) for one in reversed(asked)] if len(asked) == 3 else []

    server, results = MemoryServer(on={"tools/call": react}), {}
    async with server.connected() as session, anyio.create_task_group() as tasks:

        async def one(n: str) -> None:
            results[n] = text_of((await session.call("tool", {"n": n}, timeout=TIMEOUT)).contents)

        for n in "abc":
            tasks.start_soon(one, n)
    assert results == {"a": "a", "b": "b", "c": "c"}


async def test_a_call_that_times_out_is_an_error_and_the_server_is_told() -> None:
    server = MemoryServer(on={"tools/call": lambda _: []})
    async with server.connected() as session:
        with pytest.raises(ToolError, match=r"'fake' did not answer within 0\.05 s"):
            await call(session, timeout=0.05)
        server.on.clear()
        assert await call(session)  # and it goes on
        ident = server.received[3]["id"]
        server.emit(answer({"id": ident}, {}))  # a late answer is no violation
        assert await call(session)
    cancelled = [message["params"] for message in server.received if message.get("method") == "notifications/cancelled"]
    assert cancelled == [{"requestId": ident, "reason": "timed out"}]
    assert server.violations == []


async def test_a_call_that_is_cancelled_tells_the_server() -> None:
    server = MemoryServer(on={"tools/call": lambda _: []})
    async with server.connected() as session:
        with anyio.move_on_after(0.02):
            await call(session)
        server.on.clear()
        await call(session)
    assert "notifications/cancelled" in server.methods()


async def test_an_error_of_the_server_is_a_tool_error_with_its_words_made_safe() -> None:
    error = {"code": -32602, "message": "no \x1b[31msuch tool"}
    server = MemoryServer(on={"tools/call": lambda m: [{"jsonrpc": "2.0", "id": m["id"], "error": error}]})
    async with server.connected() as session:
        with pytest.raises(ToolError, match=r"refused the call: no \\x1b\[31msuch tool \(code -32602\)"):
            await call(session)


async def test_W_10_a_server_that_hangs_up_fails_every_call_in_flight_and_every_later_one() -> None:
    server, failures = MemoryServer(on={"tools/call": lambda _: []}), []
    async with server.connected() as session:

        async def one() -> None:
            with pytest.raises(ToolError, match="gone") as caught:
                await call(session)
            failures.append(caught.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one)
            await anyio.wait_all_tasks_blocked()
            server.hang_up()
        await one()
    assert len(failures) == 4


# --- violations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stray",
    [
        b"Listening on port 8080\n",
        b"\x1b]0;owned\x07\n",
        b"\xff\xfe\x00\n",
        b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b'{"level":30,"msg":"a log line"}\n',
        b'[{"jsonrpc":"2.0","method":"x"}]\n',
        b'{"jsonrpc":"2.0","id":999999,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":"4","result":{}}\n',
        b'{"jsonrpc":"2.0","id":true,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}\n',
        b'{"jsonrpc":"1.0","id":4,"result":{}}\n',
    ],
)
async def test_AM6_a_stray_line_is_dropped_and_reported_and_the_answer_still_arrives(stray) -> None:
    server = MemoryServer()
    async with server.connected() as session:
        server.emit(stray)
        await anyio.wait_all_tasks_blocked()
        assert await call(session)
        assert len(server.violations) == 1
        assert "\x1b" not in server.violations[0]


@pytest.mark.parametrize(
    "broken",
    [
        lambda m: {**reply(m), "error": {"code": 1, "message": "and a result"}},
        lambda m: {**reply(m), "result": [1]},
        lambda m: {"jsonrpc": "2.0", "id": m["id"]},
        lambda m: b'{"jsonrpc":"2.0","id":%d,"result":{"x":%s%s}}\n' % (m["id"], b"[" * 999, b"]" * 999),
        lambda m: b'{"jsonrpc":"2.0","id":%d,"result":{"x":"' % m["id"] + b"x" * (48 * 1024 * 1024) + b'"}}\n',
        lambda m: b'{"jsonrpc":"2.0","id":%d,"result":{"x":NaN}}\n' % m["id"],
        lambda m: b'{"jsonrpc":"2.0","id":%d,"resu\n' % m["id"],
    ],
    ids=["both", "no-object", "neither", "deep", "giant", "nan", "cut"],
)
async def test_AM6_a_broken_answer_fails_its_call_at_once_and_the_next_call_works(broken) -> None:
    server = MemoryServer(on={"tools/call": lambda message: [broken(message)]})
    async with server.connected() as session:
        with anyio.fail_after(TIMEOUT / 2), pytest.raises(ToolError):
            await call(session, timeout=2 * TIMEOUT)
        server.on.clear()
        assert await call(session)
    assert len(server.violations) == 1


async def test_AM6_a_second_answer_is_dropped_and_reported() -> None:
    server = MemoryServer(on={"tools/call": lambda message: [reply(message, "first"), reply(message, "second")]})
    async with server.connected() as session:
        assert await call(session) == "first"
        server.on.clear()
        assert "first" not in await call(session)
    assert len(server.violations) == 1


async def test_AM6_an_answer_that_comes_before_its_question_is_not_taken_for_it() -> None:
    server = MemoryServer()
    async with server.connected() as session:
        server.emit(*(reply({"id": ident}, "forged") for ident in range(1, 20)))
        await anyio.wait_all_tasks_blocked()
        assert await call(session) != "forged"
    assert len(server.violations) == 19


async def test_AM6_a_server_that_breaks_the_protocol_all_the_time_is_given_up() -> None:
    server = MemoryServer(on={"tools/call": lambda _: [b"noise\n" * 5000]})
    async with server.connected() as session:
        with pytest.raises(ToolError, match="broke the protocol 1000 times"):
            await call(session)
    assert len(server.violations) == 1000


async def test_AM6_output_that_ends_in_the_middle_of_a_message_is_reported() -> None:
    server = MemoryServer(on={"tools/call": lambda _: [b'{"jsonrpc":']})
    async with server.connected() as session, anyio.create_task_group() as tasks:

        async def one() -> None:
            with pytest.raises(ToolError, match="gone"):
                await call(session)

        tasks.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        server.hang_up()
    assert server.violations == ["its output ended in the middle of a message"]


noise = st.one_of(
    st.binary(max_size=200).map(lambda data: data.replace(b"\n", b"") + b"\n"),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    ).map(lambda value: json.dumps(value).encode() + b"\n"),
    st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0")},
        optional={
            "id": st.integers(1, 9) | st.text(max_size=3) | st.none(),
            "method": st.sampled_from(["ping", "roots/list", "sampling/createMessage", "notifications/message", ""]),
            "params": st.dictionaries(st.text(max_size=5), st.integers(), max_size=2) | st.lists(st.integers()),
            "result": st.dictionaries(st.text(max_size=5), st.integers(), max_size=2) | st.integers(),
            "error": st.fixed_dictionaries({"code": st.integers(), "message": st.text(max_size=9)}) | st.text(),
        },
    ).map(lambda value: json.dumps(value).encode() + b"\n"),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(noise, max_size=12))
def test_AM6_no_noise_of_a_server_escapes_as_anything_but_a_tool_error(lines) -> None:
    async def run() -> None:
        server = MemoryServer(on={"tools/call": lambda message: [*lines, reply(message)]})
        async with server.connected() as session:
            try:
                await call(session)
            except ToolError:
                server.on.clear()
                await anyio.wait_all_tasks_blocked()  # the rest of the noise belongs to the call that failed
                await call(session)

    anyio.run(run)


# --- what a server may ask and say -----------------------------------------------------------------------------------


async def served(method: str) -> tuple[MemoryServer, dict]:
    server = MemoryServer()
    async with server.connected() as session:
        server.emit({"jsonrpc": "2.0", "id": "q1", "method": method, "params": {}})
        await anyio.wait_all_tasks_blocked()
        await call(session)
    return server, next(message for message in server.received if message.get("id") == "q1")


async def test_a_ping_is_answered() -> None:
    server, response = await served("ping")
    assert response["result"] == {}
    assert server.violations == []


async def test_the_roots_are_the_workspace() -> None:
    _, response = await served("roots/list")
    assert response["result"] == {"roots": [{"uri": "file:///workspace", "name": "workspace"}]}


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "tools/call", "x\x1b[31m"])
async def test_AM6_a_request_that_was_not_offered_is_refused_and_reported(method) -> None:
    server, response = await served(method)
    assert response["error"]["code"] == -32601
    assert len(server.violations) == 1
    assert "\x1b" not in server.violations[0]


async def test_log_messages_and_progress_are_told_in_safe_words() -> None:
    server = MemoryServer()
    async with server.connected() as session:
        server.emit(
            {
                "jsonrpc": "2.0",
                "method": "notifications/message",
                "params": {"level": "info", "data": "\x1b]52;c;x\x07"},
            },
            {
                "jsonrpc": "2.0",
                "method": "notifications/progress",
                "params": {"progress": 1, "total": 2, "message": "half"},
            },
        )
        await anyio.wait_all_tasks_blocked()
        await call(session)
    assert server.notices == ["info: \\x1b]52;c;x\\x07", "progress 1 of 2: half"]


async def test_a_changed_list_of_tools_is_read_again() -> None:
    server = MemoryServer()
    async with server.connected() as session:
        server.tools.append({"name": "new", "inputSchema": ANY_OBJECT})
        server.emit({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        await anyio.wait_all_tasks_blocked()
        assert [tool.name for tool in session.tools] == ["tool", "new"]
    assert server.notices == ["the server changed its list of tools"]
