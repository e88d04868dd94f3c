"""Chunks as OpenAI and the servers compatible with it really send them."""

from __future__ import annotations

import pytest
from model_events import told
from perstack.errors import ProviderError
from perstack.messages import Usage
from perstack.model_http import MOST_CALLS
from perstack.protocols import Finish, ReasoningDelta, ReasoningEnd, StreamPart, TextDelta, ToolCallRequest
from perstack_provider_openai.chat_stream import ChatAnswer


def read(*chunks: dict) -> list[StreamPart]:
    answer = ChatAnswer("a-server")
    parts = [part for chunk in chunks for part in answer.feed(told(chunk))]
    return [*parts, *answer.end()]


def delta(*, finish: str | None = None, **fields: object) -> dict:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def calls(parts: list[StreamPart]) -> list[tuple[str, object]]:
    return [(part.name, part.args) for part in parts if isinstance(part, ToolCallRequest)]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_of_compatible_servers_ends_where_the_text_begins(field: str) -> None:
    parts = read(delta(**{field: "hm"}), delta(content="", **{field: ""}), delta(content="yes"), delta(finish="stop"))
    assert parts[:3] == [ReasoningDelta(text="hm"), ReasoningEnd(), TextDelta(text="yes")]


def test_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    parts = read(
        delta(tool_calls=[{"id": "a", "function": {"name": "one", "arguments": '{"x": '}}]),
        delta(tool_calls=[{"function": {"arguments": "1}"}}]),
        delta(tool_calls=[{"id": "b", "function": {"name": "two", "arguments": "{}"}}]),
        delta(finish="tool_calls"),
    )
    assert calls(parts) == [("one", {"x": 1}), ("two", {})]


def test_calls_that_all_have_index_0_are_told_apart_by_their_ids() -> None:
    parts = read(
        delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "one", "arguments": '{"x": 1}'}}]),
        delta(tool_calls=[{"index": 0, "id": "b", "function": {"name": "two", "arguments": "{}"}}]),
        delta(finish="tool_calls"),
    )
    assert calls(parts) == [("one", {"x": 1}), ("two", {})]


def test_a_name_that_is_repeated_with_each_piece_counts_once() -> None:
    parts = read(
        delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "one", "arguments": "{"}}]),
        delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "one", "arguments": "}"}}]),
        delta(finish="tool_calls"),
    )
    assert calls(parts) == [("one", {})]


def test_calls_that_end_with_stop_are_tool_calls() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "one", "arguments": "{}"}}
    assert read(delta(tool_calls=[call]), delta(finish="stop"))[-1] == Finish(reason="tool-calls", usage=Usage())


def test_W_16_a_refusal_is_shown_and_is_no_completion() -> None:
    parts = read(delta(refusal="I will not."), delta(finish="stop"))
    assert parts == [TextDelta(text="I will not."), Finish(reason="refusal", usage=Usage())]


def test_fields_that_are_null_count_as_absent() -> None:
    nothing = {"choices": [{"delta": {"content": None, "tool_calls": None}, "finish_reason": None}], "usage": None}
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": None, "prompt_tokens_details": None}}
    parts = read(nothing, {"choices": None}, delta(finish="stop"), usage)
    assert parts == [Finish(reason="stop", usage=Usage(input_tokens=3, total_tokens=3))]


def test_an_answer_without_a_finish_reason_is_cut() -> None:
    whole = read(delta(content="text"), delta(finish="stop"))
    assert whole[-1] == Finish(reason="stop", usage=Usage())
    with pytest.raises(ProviderError, match="broke off") as caught:
        read(delta(content="text"))
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("error", "status", "retryable"),
    [
        ({"message": "slow down", "code": 429}, 429, True),
        ({"message": "slow down", "code": "503"}, 503, True),
        ({"message": "pay", "type": "insufficient_quota", "code": "insufficient_quota"}, None, False),
        ({"message": "down", "type": "server_error", "code": None}, None, True),
        ({"message": "no", "code": "9" * 5000}, None, False),
        ("plain words", None, False),
        ({}, None, False),
    ],
)
def test_W_15_an_error_in_the_place_of_a_chunk_is_classified(error: object, status: int, *, retryable: bool) -> None:
    with pytest.raises(ProviderError) as caught:
        read(delta(content="text"), {"error": error})
    assert (caught.value.status, caught.value.retryable) == (status, retryable)


@pytest.mark.parametrize("data", ["", "[]", '"x"', '{"choices": 1}', '{"choices": [{"delta": {"content": 1}}]}', "{"])
def test_what_is_no_chunk_is_an_error(data: str) -> None:
    with pytest.raises(ProviderError, match="a-server sent an event that is none"):
        list(ChatAnswer("a-server").feed(told(data)))


def test_calls_without_end_are_refused() -> None:
    many = [{"index": n, "id": f"c{n}", "function": {"name": "x", "arguments": ""}} for n in range(MOST_CALLS + 1)]
    assert len(calls(read(delta(tool_calls=many[:-1]), delta(finish="tool_calls")))) == MOST_CALLS
    with pytest.raises(ProviderError, match=f"{MOST_CALLS} tool calls"):
        read(delta(tool_calls=many), delta(finish="tool_calls"))
