"""What every model provider has to do, as tests: a plugin's own tests inherit them and say how to make the provider.

class TestAcme(ProviderChecks):
    def url(self, server):
        return server.openai_url

    def make(self, url, key="key"):
        return AcmeProvider(...)
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import msgspec
import pytest

from perstack.errors import ProviderError
from perstack.messages import FinishReason, JsonObject, ToolDefinition, Usage
from perstack.protocols import Provider, TextDelta, TextEnd
from perstack.testing.answers import Answer, answer, question
from perstack.testing.model_server import Call, Cut, ErrorEvent, Fault, Gate, ModelServer, Raw, Refuse, Stall, Turn

FULL_TURN = Turn(
    reasoning="First I read, and then I write.",
    text="I copy the file, naïvely.",
    calls=[Call("readTextFile", {"path": "a"}), Call("writeTextFile", {"path": "b", "text": "ü"})],
)
LONG = "a long text " * 20


class ProviderChecks:
    """Checks of a provider against the scripted model server; the server's log is the evidence.

    Attributes:
        content_type: What the vendor calls a streamed body.
        endless: A body whose first event never ends, over 8 MiB.
        writes_arguments: Whether a model's arguments arrive as it wrote them; else the vendor sends objects only.
        takes_schemas: Whether the vendor holds answers to a JSON Schema; else to JSON at most.
    """

    content_type = "text/event-stream"
    endless = b"data: " + b"x" * (9 * 1024 * 1024)
    writes_arguments = True
    takes_schemas = True

    def url(self, server: ModelServer) -> str:
        """The server's base URL as the provider takes it."""
        raise NotImplementedError

    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        """A provider that asks `url` with `key`."""
        raise NotImplementedError

    async def ask(self, turn: Turn, *, timeout: float = 20.0) -> tuple[Answer, ModelServer]:
        """The provider's answer where the model says `turn`."""
        with ModelServer([turn]) as server:
            provider = self.make(self.url(server))
            try:
                return await answer(provider, question(timeout=timeout)), server
            finally:
                await provider.aclose()

    async def fails(self, fault: Fault, *, turn: Turn = FULL_TURN, timeout: float = 20.0) -> ProviderError:
        """The provider's error where the model's answer has `fault`; the server saw one request, and no more."""
        broken = msgspec.structs.replace(turn, fault=fault, times=None)
        with ModelServer([broken]) as server:
            provider = self.make(self.url(server))
            try:
                with pytest.raises(ProviderError) as caught:
                    await answer(provider, question(timeout=timeout))
            finally:
                await provider.aclose()
            assert len(server.requests) == 1, "the engine retries, a provider does not"
            return caught.value

    # --- answers ---

    async def test_an_answer_arrives_in_pieces_and_ends_with_its_finish(self) -> None:
        usage = Usage(input_tokens=20, output_tokens=7, cached_input_tokens=11, total_tokens=27)
        text = uuid.uuid4().hex * 3
        got, _ = await self.ask(Turn(text=text, usage=usage))
        assert got.text == text
        assert len([part for part in got.parts if isinstance(part, TextDelta)]) > 1
        assert (got.finish.reason, got.finish.usage) == ("stop", usage)

    async def test_reasoning_text_and_parallel_calls_keep_their_order(self) -> None:
        got, _ = await self.ask(FULL_TURN)
        assert (got.reasoning, got.text) == (FULL_TURN.reasoning, FULL_TURN.text)
        assert [(call.name, call.args) for call in got.calls] == [(c.name, c.args) for c in FULL_TURN.calls]
        assert len(got.signatures) == 1
        assert got.finish.reason == "tool-calls"
        kinds = [type(part).__name__ for part in got.parts if not isinstance(part, TextEnd)]
        assert list(dict.fromkeys(kinds)) == [
            "ReasoningDelta",
            "ReasoningEnd",
            "TextDelta",
            "ToolCallRequest",
            "Finish",
        ]

    @pytest.mark.parametrize(
        "raw", ['{"path": "a', "[1]", '"text"', "null", "NaN", '{"a": NaN}', pytest.param("[" * 5000, id="deep")]
    )
    async def test_broken_arguments_are_handed_on_as_written(self, raw: str) -> None:
        if not self.writes_arguments:
            pytest.skip("the format carries objects only")
        got, _ = await self.ask(Turn(calls=[Call("readTextFile", raw), Call("readTextFile", {"path": "whole"})]))
        assert (got.calls[0].args, got.calls[0].raw_args) == (None, raw)
        assert got.calls[1].args == {"path": "whole"}

    async def test_no_arguments_are_an_empty_object(self) -> None:
        got, _ = await self.ask(Turn(calls=[Call("todo", "")]))
        assert got.calls[0].args == {}

    async def test_equal_ids_of_two_calls_become_different(self) -> None:
        got, _ = await self.ask(Turn(calls=[Call("a", id="same"), Call("b", id="same")]))
        assert [call.name for call in got.calls] == ["a", "b"]
        assert len({call.id for call in got.calls}) == 2
        assert got.calls[0].id == "same"

    @pytest.mark.parametrize(
        ("said", "reason"),
        [("stop", "stop"), ("length", "length"), ("refusal", "refusal"), ("a-word-of-the-future", "other")],
    )
    async def test_W_16_each_way_to_end_has_its_reason(self, said: str, reason: FinishReason) -> None:
        got, _ = await self.ask(Turn(text="fragment", finish=said))
        assert got.finish.reason == reason
        assert reason != "other" or got.finish.word == said

    async def test_W_16_calls_of_an_answer_cut_by_its_limit_are_not_lost(self) -> None:
        cut: JsonObject | str = '{"cut": ' if self.writes_arguments else {"cut": False}
        calls = [Call("a", {"whole": True}), Call("b", cut)]
        got, _ = await self.ask(Turn(text="fragment", calls=calls, finish="length"))
        assert got.finish.reason == "length"
        assert got.text == "fragment"
        assert [call.args for call in got.calls] == [{"whole": True}, None if self.writes_arguments else cut]

    async def test_a_schema_for_the_answer_reaches_the_vendor_beside_the_tools(self) -> None:
        canary = f"field-{uuid.uuid4().hex}"
        schema: JsonObject = {
            "type": "object",
            "properties": {canary: {"type": "integer"}},
            "required": [canary],
            "additionalProperties": False,
        }
        tool = ToolDefinition(name="look", description="Looks.", input_schema={"type": "object", "properties": {}})
        said = f'{{"{canary}": 7}}'
        with ModelServer([Turn(text=said, times=None)]) as server:
            provider = self.make(self.url(server))
            got = await answer(provider, question(tools=(tool,), output_schema=schema))
            await answer(provider, question(tools=(tool,)))
            await provider.aclose()
        assert got.text == said
        with_schema, without = (request.raw.decode() for request in server.requests)
        assert (canary in with_schema) is self.takes_schemas
        assert len(with_schema) > len(without), "JSON at least was asked for"
        assert server.requests[0].tool_names == ("look",)

    async def test_steps_of_one_conversation_share_a_connection(self) -> None:
        with ModelServer([Turn(text="again", times=None)]) as server:
            provider = self.make(self.url(server))
            for _ in range(5):
                await answer(provider, question())
            await provider.aclose()
        assert len(server.requests) == 5
        assert server.connections == 1

    # --- failures ---

    @pytest.mark.parametrize("clean", [True, False], ids=["ended", "dropped"])
    async def test_W_15_an_answer_cut_at_any_event_is_a_retryable_error(self, *, clean: bool) -> None:
        got, _ = await self.ask(FULL_TURN)
        assert got.finish.reason == "tool-calls"
        async for after in self._cuts():
            error = await self.fails(Cut(after=after, clean=clean))
            assert error.retryable, f"cut after {after} events"

    async def _cuts(self) -> AsyncIterator[int]:
        """Every number of events that is less than the whole answer."""
        after = 0
        while True:
            with ModelServer([msgspec.structs.replace(FULL_TURN, fault=Cut(after=after, clean=True))]) as server:
                provider = self.make(self.url(server))
                try:
                    await answer(provider, question())
                except ProviderError:
                    yield after
                else:
                    assert after > 5
                    return
                finally:
                    await provider.aclose()
            after += 1

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 413, 422, 501])
    async def test_W_15_a_status_that_lasts_is_no_reason_to_try_again(self, status: int) -> None:
        await self.refused(status, retryable=False)

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
    async def test_W_15_a_status_that_passes_is_a_reason_to_try_again(self, status: int) -> None:
        await self.refused(status, retryable=True)

    async def refused(self, status: int, *, retryable: bool) -> None:
        """The provider's error tells `status`, the server's reason, and whether to try again."""
        reason = uuid.uuid4().hex
        error = await self.fails(Refuse(status=status, message=reason))
        assert (error.status, error.retryable) == (status, retryable)
        assert str(status) in str(error)
        assert status == 302 or reason in str(error)

    async def test_W_17_the_servers_wish_to_wait_is_handed_on_and_nothing_is_retried(self) -> None:
        error = await self.fails(Refuse(status=429, headers={"Retry-After": "7"}))
        assert (error.retryable, error.retry_after) == (True, 7.0)

    @pytest.mark.parametrize("place", ["refusal", "event", "type"])
    async def test_an_error_shows_no_key_and_no_control_character(self, place: str) -> None:
        key = f"sk-{uuid.uuid4().hex}"
        said = f"Incorrect key \x1b[31m{key}\r\nprovided"
        faults: dict[str, Fault] = {
            "refusal": Refuse(status=401, message=said),
            "event": ErrorEvent(after=0, message=said),
            "type": Raw(body=b"", content_type=f"Incorrect key/{key}"),
        }
        with ModelServer([Turn(text="a text", fault=faults[place])]) as server:
            provider = self.make(self.url(server), key)
            with pytest.raises(ProviderError) as caught:
                await answer(provider, question())
            await provider.aclose()
        assert any(key in value for value in server.requests[0].headers.values()), "the key was really sent"
        shown = f"{caught.value} {caught.value.hint} {caught.value!r}"
        assert "Incorrect key" in shown
        assert key not in shown
        assert "\x1b" not in shown
        assert "\n" not in shown

    @pytest.mark.parametrize(("kind", "retryable"), [("overloaded_error", True), ("invalid_request_error", False)])
    async def test_W_15_an_error_inside_the_stream_keeps_its_words(self, kind: str, *, retryable: bool) -> None:
        reason = uuid.uuid4().hex
        error = await self.fails(ErrorEvent(after=3, message=reason, kind=kind))
        assert error.retryable is retryable
        assert reason in str(error)
        assert kind in str(error)

    async def test_garbage_is_an_error(self) -> None:
        error = await self.fails(Raw(body=b"data: {\xff\xfe not json\n\n", content_type=self.content_type))
        assert "sent" in str(error)

    async def test_a_page_in_place_of_a_stream_is_an_error_that_names_its_type(self) -> None:
        error = await self.fails(Raw(body=b"<html>Sign in</html>", content_type="text/html"))
        assert "'text/html'" in str(error)
        assert not error.retryable

    async def test_an_event_without_end_is_refused_at_its_bound(self) -> None:
        error = await self.fails(Raw(body=self.endless, content_type=self.content_type))
        assert "8388608 byte limit" in str(error)

    async def test_a_huge_event_within_the_bound_is_taken_whole(self) -> None:
        text = uuid.uuid4().hex * 2**16
        got, _ = await self.ask(Turn(calls=[Call("writeTextFile", {"text": text})], piece=2**22))
        assert got.calls[0].args == {"text": text}

    async def test_W_17_a_model_that_never_begins_is_given_up_on_in_time(self) -> None:
        error = await self.fails(Stall(gate=Gate()), timeout=0.1)
        assert "did not begin to answer within 0.1 s" in str(error)
        assert error.retryable

    async def test_a_model_that_stops_in_the_middle_is_given_up_on_in_time(self) -> None:
        error = await self.fails(Stall(gate=Gate(), after=4), timeout=0.3)
        assert "did not finish its answer within 0.3 s" in str(error)
        assert error.retryable

    async def test_a_server_that_is_not_there_is_an_error(self) -> None:
        with ModelServer() as server:
            url = self.url(server)
        provider = self.make(url)
        with pytest.raises(ProviderError, match="connection") as caught:
            await answer(provider, question())
        await provider.aclose()
        assert caught.value.retryable
        assert f"127.0.0.1:{server.port}" in str(caught.value)
        assert "Start the server" in caught.value.hint

    # --- ends ---

    async def test_cancellation_closes_the_connection_at_once(self) -> None:
        gate = Gate()
        with ModelServer([Turn(text=LONG, fault=Stall(gate=gate, after=4))]) as server:
            provider = self.make(self.url(server))
            async with anyio.create_task_group() as group:
                group.start_soon(answer, provider, question())
                await anyio.to_thread.run_sync(gate.wait_reached)
                group.cancel_scope.cancel()
            await anyio.to_thread.run_sync(server.wait_finished, 1)
            assert server.requests[0].client_gone
            await provider.aclose()

    async def test_closing_the_iterator_closes_the_connection(self) -> None:
        gate = Gate()
        with ModelServer([Turn(text=LONG, fault=Stall(gate=gate, after=8))]) as server:
            provider = self.make(self.url(server))
            stream = provider.generate(question())
            async for part in stream:
                assert isinstance(part, TextDelta)
                break
            await stream.aclose()
            await anyio.to_thread.run_sync(server.wait_finished, 1)
            assert server.requests[0].client_gone
            await provider.aclose()

    async def test_W_26_two_credentials_share_no_client(self) -> None:
        keys = [uuid.uuid4().hex, uuid.uuid4().hex]
        gate = Gate(opens_at=2)
        with ModelServer([Turn(text="both", fault=Stall(gate=gate), times=None)]) as server:
            providers = [self.make(self.url(server), key) for key in keys]
            async with anyio.create_task_group() as group:
                for provider in providers:
                    group.start_soon(answer, provider, question())
            for provider in providers:
                await provider.aclose()
        assert server.connections == 2
        sent = [" ".join(request.headers.values()) for request in server.requests]
        assert sorted(key for key in keys for headers in sent if key in headers) == sorted(keys)
        assert all(sum(key in headers for key in keys) == 1 for headers in sent)
