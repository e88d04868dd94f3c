"""Events as Anthropic really sends them."""

from __future__ import annotations

import msgspec
import pytest
from model_events import gathered, told
from perstack.errors import ProviderError
from perstack.messages import ExpertMessage, Usage, VendorPart
from perstack.model_http import MOST_CALLS
from perstack.protocols import Finish, ReasoningDelta, ReasoningEnd, StreamPart, TextDelta, TextEnd, ToolCallRequest
from perstack_provider_anthropic.request import message_blocks
from perstack_provider_anthropic.stream import MessagesAnswer
from perstack_provider_openai.chat_request import chat_messages
from perstack_provider_openai.profiles import OPENAI


def read(*events: dict) -> list[StreamPart]:
    answer = MessagesAnswer("a-server")
    parts = [part for event in events for part in answer.feed(told(event))]
    return [*parts, *answer.end()]


def begin(index: int, **block: object) -> dict:
    return {"type": "content_block_start", "index": index, "content_block": block}


def go_on(index: int, **delta: object) -> dict:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def end(index: int) -> dict:
    return {"type": "content_block_stop", "index": index}


def stop(reason: str | None = "end_turn", **usage: object) -> dict:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def test_withheld_reasoning_keeps_its_cipher() -> None:
    parts = read(begin(0, type="redacted_thinking", data="cipher"), end(0), stop())
    assert parts[0] == ReasoningEnd(signature="anthropic-redacted:cipher")


def test_a_signature_in_pieces_is_one() -> None:
    parts = read(
        begin(0, type="thinking", thinking="", signature=""),
        go_on(0, type="thinking_delta", thinking="hm"),
        go_on(0, type="signature_delta", signature="pro"),
        go_on(0, type="signature_delta", signature="of"),
        end(0),
        stop(),
    )
    assert parts[:2] == [ReasoningDelta(text="hm"), ReasoningEnd(signature="anthropic:proof")]


def test_events_of_the_future_are_passed_over_and_blocks_of_the_vendors_own_are_kept() -> None:
    parts = read(
        {"type": "ping"},
        {"type": "of_the_future", "index": 3},
        begin(0, type="server_tool_use", id="s", name="web_search", input={}),
        go_on(0, type="input_json_delta", partial_json='{"query": '),
        go_on(0, type="input_json_delta", partial_json='"x"}'),
        end(0),
        begin(1, type="text", text="be", citations=None),
        go_on(1, type="text_delta", text="gin"),
        end(1),
        stop(),
    )
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
    assert parts == [
        VendorPart(vendor="anthropic", block=search),
        TextDelta(text="be"),
        TextDelta(text="gin"),
        TextEnd(),
        Finish(reason="stop", usage=Usage()),
    ]


@pytest.mark.anyio
async def test_W_09_sources_of_a_text_go_back_with_it_to_their_vendor_and_to_no_other() -> None:
    source = {"type": "web_search_result_location", "url": "https://a.example", "encrypted_index": "cipher"}
    parts = read(
        begin(0, type="text", text="", citations=None),
        go_on(0, type="text_delta", text="It has "),
        end(0),
        begin(1, type="text", text="", citations=[]),
        go_on(1, type="citations_delta", citation=source),
        go_on(1, type="text_delta", text="two heads"),
        end(1),
        begin(2, type="text", text="."),
        end(2),
        stop(),
    )
    said = await gathered(parts)
    assert said.text == "It has two heads.", "no line ends where a source begins"
    message = msgspec.json.decode(msgspec.json.encode(said.message()), type=ExpertMessage)  # as after a restart
    assert [*message_blocks(message)] == [
        {"type": "text", "text": "It has "},
        {"type": "text", "text": "two heads", "citations": [source]},
        {"type": "text", "text": "."},
    ]
    (other,) = chat_messages(message, OPENAI)
    assert other == {"role": "assistant", "content": "It has two heads."}


def test_arguments_may_stand_in_the_blocks_start() -> None:
    parts = read(begin(0, type="tool_use", id="a", name="read", input={"path": "x"}), end(0), stop("tool_use"))
    assert parts[0] == ToolCallRequest(id="a", name="read", args={"path": "x"}, raw_args='{"path":"x"}')


def test_cached_input_counts_as_input_and_later_counts_win() -> None:
    start = {"input_tokens": 5, "output_tokens": 1, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 100}
    parts = read(
        {"type": "message_start", "message": {"usage": start}},
        stop("end_turn", output_tokens=9, input_tokens=None, output_tokens_details={"thinking_tokens": 4}),
    )
    usage = Usage(
        input_tokens=112,
        output_tokens=9,
        reasoning_tokens=4,
        cached_input_tokens=100,
        total_tokens=121,
        cache_write_tokens=7,
    )
    assert parts == [Finish(reason="stop", usage=usage)]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop_sequence", "stop"),
        ("tool_use", "tool-calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "refusal"),
        ("pause_turn", "pause"),
    ],
)
def test_W_16_each_stop_reason_has_its_meaning(said: str, reason: str) -> None:
    assert read(stop(said)) == [Finish(reason=reason, usage=Usage())]


def test_a_stop_reason_that_nobody_knows_keeps_its_word() -> None:
    assert read(stop("of_the_future")) == [Finish(reason="other", usage=Usage(), word="of_the_future")]


@pytest.mark.parametrize(
    "events", [[], [stop(None)], [begin(0, type="text", text="x"), stop()]], ids=["nothing", "no-reason", "open-block"]
)
def test_an_answer_that_is_not_whole_is_cut(events: list[dict]) -> None:
    assert read(begin(0, type="text", text="x"), end(0), stop())[-1] == Finish(reason="stop", usage=Usage())
    with pytest.raises(ProviderError, match="broke off") as caught:
        read(*events)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [("overloaded_error", True), ("api_error", True), ("rate_limit_error", True), ("authentication_error", False)],
)
def test_W_15_an_error_event_is_classified(kind: str, *, retryable: bool) -> None:
    with pytest.raises(ProviderError, match="the reason") as caught:
        read({"type": "error", "error": {"type": kind, "message": "the reason"}})
    assert caught.value.retryable is retryable


@pytest.mark.parametrize(
    "data", ["", "[]", "{}", '{"type": 1}', '{"type": "content_block_start", "content_block": {}}', "{"]
)
def test_what_is_no_event_is_an_error(data: str) -> None:
    with pytest.raises(ProviderError, match="a-server sent an event that is none"):
        list(MessagesAnswer("a-server").feed(told(data)))


@pytest.mark.parametrize("event", [go_on(4, type="text_delta", text="x"), end(4)])
def test_a_piece_of_a_block_that_has_not_begun_is_an_error(event: dict) -> None:
    with pytest.raises(ProviderError, match="has not begun"):
        read(event)


def test_calls_without_end_are_refused() -> None:
    def calls(count: int) -> list[dict]:
        return [e for n in range(count) for e in (begin(n, type="tool_use", id=f"c{n}", name="x", input={}), end(n))]

    assert len(read(*calls(MOST_CALLS), stop("tool_use"))) == MOST_CALLS + 1
    with pytest.raises(ProviderError, match=f"{MOST_CALLS} tool calls"):
        read(*calls(MOST_CALLS + 1), stop("tool_use"))
