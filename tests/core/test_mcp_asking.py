"""What servers may ask back: nothing, unless their skill's table says so."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from memory_server import MemoryServer
from perstack.errors import ToolError
from perstack.launch.asking_back import AskingBack, converted
from perstack.protocols import ConnectRequest, Question, Sample
from perstack.skill_policy import BUILT_IN, SkillPolicy
from perstack.tools.questions import MAX_QUESTIONS
from perstack.tools.stdio import StdioTransport

FORM = {
    "message": "Which canary-91b?",
    "requestedSchema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TEXT = {"messages": [{"role": "user", "content": {"type": "text", "text": "canary-92c"}}], "maxTokens": 100}
ASKED = {"elicitation/create": FORM, "sampling/createMessage": TEXT}


async def answers(*requests, allow=(), elicit=None, complete=None) -> tuple[MemoryServer, list[dict]]:
    """What the server is told to each of its requests."""
    server = MemoryServer()
    policy = SkillPolicy(
        expert="t",
        skill="fake",
        kind="mcpStdioSkill",
        origin=BUILT_IN,
        argv=("fake",),
        allow_elicitation="elicitation" in allow,
        allow_sampling="sampling" in allow,
    )
    request = ConnectRequest(
        policy=policy,
        process=server,
        workspace=Path("/workspace"),
        violation=server.violations.append,
        notice=server.notices.append,
        elicit=elicit,
        complete=complete,
    )
    async with StdioTransport(handshake_seconds=5).connect(request) as session:
        for ident, (method, params) in enumerate(requests):
            server.emit({"jsonrpc": "2.0", "id": f"q{ident}", "method": method, "params": params})
        await anyio.wait_all_tasks_blocked()
        await session.call("tool", {}, timeout=5)
        server.hang_up()
    server._out.close()
    server._stdout.close()
    by_id = {message["id"]: message for message in server.received if str(message.get("id")).startswith("q")}
    return server, [by_id[f"q{number}"] for number in range(len(requests))]


async def answer_with(question: Question) -> dict:
    return {"city": f"for {question.skill}"}


async def write(sample: Sample) -> str:
    return f"wrote {sample.messages[0][1]}"


@pytest.mark.parametrize("method", ASKED)
async def test_AM6_a_server_may_ask_only_where_its_table_allows_it(method) -> None:
    asked = (method, ASKED[method])
    server, [refused] = await answers(asked, elicit=answer_with, complete=write)
    assert refused["error"]["code"] == -32601
    assert server.received[0]["params"]["capabilities"] == {"roots": {}}
    assert len(server.violations) == 1
    kind = method.partition("/")[0]
    server, [answered] = await answers(asked, allow=(kind,), elicit=answer_with, complete=write)
    assert "result" in answered, answered
    assert server.received[0]["params"]["capabilities"] == {"roots": {}, kind: {}}
    assert server.violations == []
    assert server.notices == [f"the server asks: {method}"], "it is in the journal that it asked"


@pytest.mark.parametrize("method", ASKED)
async def test_a_run_without_anybody_to_ask_offers_nothing(method) -> None:
    _, [refused] = await answers((method, ASKED[method]), allow=("elicitation", "sampling"))
    assert refused["error"]["code"] == -32601


async def test_a_persons_answer_goes_back_and_their_silence_declines() -> None:
    async def nobody(_question) -> None:
        return None

    _, [accepted] = await answers(("elicitation/create", FORM), allow=("elicitation",), elicit=answer_with)
    assert accepted["result"] == {"action": "accept", "content": {"city": "for fake"}}
    _, [declined] = await answers(("elicitation/create", FORM), allow=("elicitation",), elicit=nobody)
    assert declined["result"] == {"action": "decline"}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {**FORM, "mode": "url"},
        {**FORM, "message": "x" * 20_001},
        {**FORM, "requestedSchema": {"properties": {f"f{n}": {} for n in range(21)}}},
        {**FORM, "requestedSchema": {"properties": {"city": {"type": "integer"}}}},
    ],
    ids=["empty", "page", "long", "wide", "unfit"],
)
async def test_AM6_a_form_that_is_none_is_not_shown(params) -> None:
    _, [refused] = await answers(("elicitation/create", params), allow=("elicitation",), elicit=answer_with)
    assert refused["error"]["code"] == -32602
    _, [accepted] = await answers(("elicitation/create", FORM), allow=("elicitation",), elicit=answer_with)
    assert accepted["result"]["action"] == "accept"


@pytest.mark.parametrize(
    "params",
    [
        {},
        {**TEXT, "maxTokens": 0},
        {**TEXT, "maxTokens": True},
        {**TEXT, "messages": [{"role": "system", "content": {"type": "text", "text": "x"}}]},
        {**TEXT, "messages": [{"role": "user", "content": {"type": "image", "data": "", "mimeType": "image/png"}}]},
        {**TEXT, "systemPrompt": "x" * 20_001},
        {**TEXT, "messages": ["x"]},
    ],
    ids=["empty", "no-tokens", "odd-tokens", "role", "image", "long", "no-object"],
)
async def test_AM6_a_question_to_the_model_that_is_none_is_not_put(params) -> None:
    put = []

    async def record(sample: Sample) -> str:
        put.append(sample)
        return "x"

    _, [refused] = await answers(("sampling/createMessage", params), allow=("sampling",), complete=record)
    assert refused["error"]["code"] == -32602
    assert put == []
    await answers(("sampling/createMessage", TEXT), allow=("sampling",), complete=record)
    assert [sample.messages for sample in put] == [(("user", "canary-92c"),)]


async def test_AM6_a_server_that_asks_without_end_is_answered_a_bounded_number_of_times() -> None:
    asked = [("sampling/createMessage", TEXT)] * (MAX_QUESTIONS + 5)
    _, got = await answers(*asked, allow=("sampling",), complete=write)
    assert sum("result" in answer for answer in got) == MAX_QUESTIONS
    assert "more than" in got[-1]["error"]["message"]


async def test_a_model_that_cannot_answer_is_an_error_for_the_server_alone() -> None:
    async def broke(_sample: Sample) -> str:
        raise ToolError("The job's tokens are used up.")

    _, [refused] = await answers(("sampling/createMessage", TEXT), allow=("sampling",), complete=broke)
    assert "used up" in refused["error"]["message"]


async def test_a_form_is_asked_field_by_field_and_answers_get_their_types() -> None:
    shown = []

    async def person(call):
        shown.append((call.skill_name, call.args["asks for"]))
        return {"city": "Oslo", "days": "3", "share": "0.5", "sure": "Yes"}[call.args["asks for"]]

    fields = {"city": "string", "days": "integer", "share": "number", "sure": "boolean"}
    schema = {"properties": {name: {"type": kind} for name, kind in fields.items()}}
    elicit = AskingBack(person, redact=str).elicit()
    answer = await elicit(Question(skill="s", message="m", schema=schema))
    assert answer == {"city": "Oslo", "days": 3, "share": 0.5, "sure": True}
    assert shown == [("s", name) for name in fields]
    assert converted("many", {"type": "integer"}) == "many"


async def test_headless_a_form_is_declined() -> None:
    async def nobody(_call) -> None:
        return None

    elicit = AskingBack(nobody, redact=str).elicit()
    assert await elicit(Question(skill="s", message="m", schema=FORM["requestedSchema"])) is None
