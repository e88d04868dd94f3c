"""One answer of a model, collected from its stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from perstack.engine.generation import Generation, collect
from perstack.errors import ProviderError
from perstack.messages import NO_USAGE, TextPart, ThinkingPart, ToolCallPart, VendorPart
from perstack.protocols import Finish, ReasoningDelta, ReasoningEnd, StreamPart, TextDelta, ToolCallRequest

pytestmark = pytest.mark.anyio


async def collected(*parts: StreamPart) -> tuple[Generation, list[str]]:
    async def stream() -> AsyncIterator[StreamPart]:
        for part in parts:
            yield part

    seen: list[str] = []
    generation = await collect(
        stream(), on_text=lambda text: seen.append(f"t:{text}"), on_reasoning=lambda text: seen.append(f"r:{text}")
    )
    return generation, seen


def call(call_id: str) -> ToolCallRequest:
    return ToolCallRequest(id=call_id, name="readTextFile", args={"path": "a"}, raw_args='{"path":"a"}')


STOP = Finish(reason="stop", usage=NO_USAGE)


async def test_deltas_are_seen_as_they_arrive_and_joined_at_the_end() -> None:
    generation, seen = await collected(
        ReasoningDelta(text="hm"), ReasoningEnd(signature="s"), TextDelta(text="a"), TextDelta(text="b"), STOP
    )
    assert seen == ["r:hm", "t:a", "t:b"]
    assert generation.message().contents == (ThinkingPart(thinking="hm", signature="s"), TextPart(text="ab"))


async def test_parts_keep_the_order_in_which_they_came() -> None:
    own = VendorPart(vendor="v", block={"type": "search"})
    generation, _ = await collected(
        TextDelta(text="a"),
        ReasoningDelta(text="hm"),
        ReasoningEnd(),
        own,
        TextDelta(text="b"),
        TextDelta(text="c"),
        call("x"),
        ReasoningDelta(text="left open"),
        STOP,
    )
    assert generation.message().contents == (
        TextPart(text="a"),
        ThinkingPart(thinking="hm"),
        own,
        TextPart(text="bc"),
        ToolCallPart(tool_call_id="x", tool_name="readTextFile", args={"path": "a"}),
        ThinkingPart(thinking="left open"),
    )
    assert generation.text == "a\nbc"


async def test_repeated_and_missing_call_ids_become_unique_so_that_results_find_their_calls() -> None:
    generation, _ = await collected(call("x"), call("x"), call(""), Finish(reason="tool-calls", usage=NO_USAGE))
    ids = [each.id for each in generation.calls]
    assert ids[0] == "x"
    assert len(set(ids)) == 3
    assert all(ids)


async def test_a_call_whose_arguments_were_no_object_stands_in_the_history_with_empty_ones() -> None:
    broken = ToolCallRequest(id="x", name="t", args=None, raw_args="{oops")
    generation, _ = await collected(broken, Finish(reason="tool-calls", usage=NO_USAGE))
    assert generation.message().contents == (ToolCallPart(tool_call_id="x", tool_name="t", args={}),)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((TextDelta(text="half"),), id="ends without saying why"),
        pytest.param((TextDelta(text="half"), Finish(reason="error", usage=NO_USAGE)), id="server error"),
        pytest.param((STOP,), id="nothing at all"),
    ],
)
async def test_W_15_a_broken_answer_is_an_error_that_may_pass_and_never_a_result(parts: tuple[StreamPart, ...]) -> None:
    with pytest.raises(ProviderError) as raised:
        await collected(*parts)
    assert raised.value.retryable
