"""What a model said goes back to it as it said it: in its order, with what its vendor's own tools did in between."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from perstack.messages import JsonObject
from perstack.testing.model_server import Call, ModelServer, Raw, Turn
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.model_server.wire import sse
from perstack.testing.project import Project
from vendors import VENDORS, table

DEMO = '[experts.demo]\ninstruction = "You are the demo Expert."\n'
SEARCH = {"type": "server_tool_use", "id": "srv1", "name": "web_search", "input": {"query": "ships"}}
FOUND = {"type": "web_search_result", "url": "https://example.com", "title": "Ships", "encrypted_content": "cipher"}
RESULT = {"type": "web_search_tool_result", "tool_use_id": "srv1", "content": [FOUND]}
MESSAGES = [
    {"type": "thinking", "thinking": "One.", "signature": "proof-1"},
    SEARCH,
    RESULT,
    {"type": "text", "text": "I found ships."},
    {"type": "thinking", "thinking": "Two.", "signature": "proof-2"},
    {"type": "tool_use", "id": "call1", "name": "listDirectory", "input": {"path": "."}},
]
WEB = {"type": "web_search_call", "id": "ws1", "status": "completed", "action": {"type": "search", "query": "ships"}}


def _reasoning(number: int, text: str) -> JsonObject:
    summary = [{"type": "summary_text", "text": text}]
    return {"type": "reasoning", "id": f"rs{number}", "summary": summary, "encrypted_content": f"proof-{number}"}


def _function(name: str) -> JsonObject:
    return {"type": "function_call", "call_id": "call1", "name": name, "arguments": '{"path":"."}'}


ITEMS = [
    _reasoning(1, "One."),
    WEB,
    _reasoning(2, "Two."),
    {"role": "assistant", "content": "I found ships."},
    _function("listDirectory"),
]
CODE = {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
RAN = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}, "thoughtSignature": "proof-1"}
CALL = {"functionCall": {"name": "listDirectory", "args": {"path": "."}, "id": "call1"}, "thoughtSignature": "proof-2"}
PARTS = [{"text": "I count."}, CODE, RAN, {"text": "It is one."}, CALL]


def messages_stream(blocks: Sequence[JsonObject], stop: str) -> bytes:
    events: list[JsonObject] = [{"type": "message_start", "message": {"usage": {"input_tokens": 1}}}]
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 1}})
    events.append({"type": "message_stop"})
    return b"".join(sse(event, event=str(event["type"])) for event in events)


def responses_stream(items: Sequence[JsonObject]) -> bytes:
    events: list[JsonObject] = []
    for item in items:
        if item["type"] == "reasoning":
            events.append({"type": "response.reasoning_summary_text.delta", "delta": item["summary"][0]["text"]})
        if item["type"] == "message":
            events.append({"type": "response.output_text.delta", "delta": item["content"]})
        events.append({"type": "response.output_item.done", "item": item})
    events.append({"type": "response.completed", "response": {"status": "completed"}})
    return b"".join(sse(event, event=str(event["type"])) for event in events)


def google_stream(parts: Sequence[JsonObject]) -> bytes:
    chunks = [{"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in parts]
    return b"".join(map(sse, [*chunks, {"candidates": [{"finishReason": "STOP"}]}]))


def sent(request: ModelRequest) -> list[JsonObject]:
    """The blocks of what the model said first, as they come back to it."""
    if request.wire == "openai-responses":
        return [item for item in request.messages if item.get("role") not in ("developer", "user")][: len(ITEMS)]
    key = "parts" if request.wire == "google-generate" else "content"
    return list(next(message for message in request.messages if message["role"] in ("assistant", "model"))[key])


FIRST = {
    "anthropic": (messages_stream(MESSAGES, "tool_use"), MESSAGES),
    "responses": (responses_stream([{**item, "type": item.get("type", "message")} for item in ITEMS]), ITEMS),
    "google": (google_stream(PARTS), PARTS),
}


@pytest.mark.parametrize("vendor", FIRST)
def test_all_parts_of_an_answer_go_back_in_their_order_live_and_from_the_journal(project: Project, vendor: str) -> None:
    body, said = FIRST[vendor]
    with ModelServer([Turn(fault=Raw(body=body)), Turn(text="done"), Turn(text="and on")]) as server:
        project.write(DEMO, provider=table(vendor, server))
        env = VENDORS[vendor].variables(server)
        live = project.run("demo", "Go.", server=server, env=env)
        resumed = project.run("demo", "Go on.", "--continue", server=server, env=env)
        assert (live.exit_code, resumed.answer) == (0, "and on"), live.stderr + resumed.stderr
        first, second, third = server.requests
    assert sent(second) == said
    assert sent(third) == said
    assert second.raw.startswith(first.raw.removesuffix(b"]}"))
    assert third.raw.startswith(second.raw.removesuffix(b"]}")), "the journal gives the very bytes of the live run"


def test_an_answer_that_pauses_is_sent_back_and_goes_on_as_the_next_step(project: Project) -> None:
    body = messages_stream([SEARCH], "pause_turn")
    with ModelServer([Turn(fault=Raw(body=body)), Turn(text="done")]) as server:
        project.write(DEMO, provider=table("anthropic", server))
        result = project.run("demo", "Go.", server=server)
        assert (result.exit_code, result.answer) == (0, "done"), result.stderr
        assert server.requests[1].messages[-1] == {"role": "assistant", "content": [SEARCH]}
    assert result.values("continueToNextStep", "checkpoint", "stepNumber") == (1,)


def test_W_16_words_that_end_for_an_unknown_reason_are_no_result_and_are_asked_for_once(project: Project) -> None:
    with ModelServer([Turn(text="perhaps all", finish="of_the_future"), Turn(text="went on")]) as server:
        project.write(DEMO)
        stopped = project.run("demo", "Go.", server=server)
        assert len(server.requests) == 1, "no retry: it would end so again"
        resumed = project.run("demo", "Go on.", "--continue", server=server)
        assert "perhaps all" in str(server.requests[1].messages)
    assert stopped.exit_code == 2
    assert stopped.values("stopRunByError", "error", "name") == ("UnknownFinish",)
    assert "'of_the_future'" in stopped.stderr + stopped.stdout
    assert resumed.answer == "went on"


def test_calls_of_an_answer_that_ends_for_an_unknown_reason_are_made(project: Project) -> None:
    calls = [Call("listDirectory", {"path": "."})]
    with ModelServer([Turn(calls=calls, finish="of_the_future"), Turn(text="done")]) as server:
        project.write(DEMO)
        result = project.run("demo", "Go.", server=server)
    assert (result.exit_code, result.answer) == (0, "done")
    assert "listDirectory" in result.tool_results
