"""One question to the model, asked again while that helps."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import anyio
import msgspec

from perstack.engine.context import JobContext
from perstack.engine.generation import Generation, collect
from perstack.engine.models import Model
from perstack.engine.recorder import Recorder, RunStamp
from perstack.engine.results import enforceable
from perstack.engine.retry import retry_delay
from perstack.errors import ProviderError
from perstack.events import (
    ChangeModel,
    CompleteStreamingReasoning,
    CompleteStreamingRunResult,
    Retry,
    StartStreamingReasoning,
    StartStreamingRunResult,
    StreamReasoning,
    StreamRunResult,
)
from perstack.messages import NO_USAGE, JsonObject, Message, ToolDefinition
from perstack.pricing import cost
from perstack.protocols import GenerateRequest


class Streamed:
    """One text while it arrives: shown in pieces, none of which holds part of a secret."""

    def __init__(self, recorder: Recorder) -> None:
        self._redacted = recorder.redactor.stream()
        self._pieces: list[str] = []

    def feed(self, delta: str) -> str:
        """The piece that may be shown now; perhaps nothing."""
        return self._keep(self._redacted.feed(delta))

    def flush(self) -> str:
        """The rest."""
        return self._keep(self._redacted.flush())

    @property
    def text(self) -> str:
        """All that was shown."""
        return "".join(self._pieces)

    def _keep(self, piece: str) -> str:
        self._pieces.append(piece)
        return piece


class StreamView:
    """Shows an answer while it arrives."""

    def __init__(self, recorder: Recorder, stamp: Callable[[], RunStamp]) -> None:
        self._recorder = recorder
        self._record = recorder.record
        self._stamp = stamp
        self._text: Streamed | None = None
        self._reasoning: Streamed | None = None

    def text(self, delta: str) -> None:
        """A piece of the answer arrived."""
        self._end_reasoning()
        if self._text is None:
            self._text = Streamed(self._recorder)
            self._record(StartStreamingRunResult(**self._stamp()))
        if piece := self._text.feed(delta):
            self._record(StreamRunResult(**self._stamp(), delta=piece))

    def reasoning(self, delta: str) -> None:
        """A piece of reasoning arrived."""
        if self._reasoning is None:
            self._reasoning = Streamed(self._recorder)
            self._record(StartStreamingReasoning(**self._stamp()))
        if piece := self._reasoning.feed(delta):
            self._record(StreamReasoning(**self._stamp(), delta=piece))

    def end(self) -> None:
        """The answer is complete."""
        self._end_reasoning()
        if self._text is not None:
            if piece := self._text.flush():
                self._record(StreamRunResult(**self._stamp(), delta=piece))
            self._record(CompleteStreamingRunResult(**self._stamp(), text=self._text.text))

    def _end_reasoning(self) -> None:
        if self._reasoning is not None:
            if piece := self._reasoning.flush():
                self._record(StreamReasoning(**self._stamp(), delta=piece))
            self._record(CompleteStreamingReasoning(**self._stamp(), text=self._reasoning.text))
            self._reasoning = None


class Unseen:
    """An answer that nobody watches."""

    def text(self, delta: str) -> None:
        """A piece of the answer arrived."""

    def reasoning(self, delta: str) -> None:
        """A piece of reasoning arrived."""

    def end(self) -> None:
        """The answer is complete."""


async def ask(
    context: JobContext,
    messages: tuple[Message, ...],
    tools: tuple[ToolDefinition, ...],
    *,
    stamp: Callable[[], RunStamp],
    shown: bool = True,
    result_schema: JsonObject | None = None,
) -> Generation:
    """The model's answer, which is not shown while it arrives unless `shown`.

    A model that can be held to `result_schema` is.

    A failure that may pass is tried again, and the conversation does not change for it. Where that does not help, the
    job's next model is asked, from here on.

    Raises:
        ProviderError: It failed for good, or more often than the job allows, with the last model.
    """
    while True:
        model = context.models.current
        try:
            question = _request(context, model, messages, tools, expert_key=stamp()["expert_key"], schema=result_schema)
            return await _ask(context, model, question, stamp=stamp, shown=shown)
        except ProviderError as error:
            other = context.models.next_after(model) if error.retryable else None
            if other is None:
                raise
            context.recorder.record(
                ChangeModel(**stamp(), model=other.name, previous_model=model.name, reason=str(error))
            )


def _request(
    context: JobContext,
    model: Model,
    messages: tuple[Message, ...],
    tools: tuple[ToolDefinition, ...],
    *,
    expert_key: str,
    schema: JsonObject | None,
) -> GenerateRequest:
    """What one model is asked."""
    held = schema is not None and model.info is not None and model.info.structured_output is True
    return GenerateRequest(
        model=model.name,
        messages=messages,
        tools=tools,
        timeout=context.timeout,
        reasoning_tokens=model.reasoning_tokens,
        max_output_tokens=model.info.max_output if model.info is not None else None,
        provider_tools=context.provider_tools.get(expert_key, {}) if tools else {},
        info=model.info,
        output_schema=enforceable(schema) if held and schema is not None else None,
    )


async def _ask(
    context: JobContext, model: Model, request: GenerateRequest, *, stamp: Callable[[], RunStamp], shown: bool
) -> Generation:
    """One model's answer, with its cost."""
    prices = model.info.prices if model.info is not None else None
    attempt = 0
    while True:
        attempt += 1
        try:
            answer = await _attempt(context, request, StreamView(context.recorder, stamp) if shown else Unseen())
            return replace(answer, usage=msgspec.structs.replace(answer.usage, cost=cost(answer.usage, prices)))
        except ProviderError as error:
            delay = retry_delay(error, attempt=attempt, max_retries=context.max_retries, jitter=random.random())  # noqa: S311 - spreads load, guards nothing
            if delay is None:
                raise
            context.recorder.record(
                Retry(**stamp(), reason=str(error), attempt=attempt, delay_ms=round(delay * 1000), usage=NO_USAGE)
            )
            await anyio.sleep(delay)


async def _attempt(context: JobContext, request: GenerateRequest, view: StreamView | Unseen) -> Generation:
    started = time.monotonic()
    try:
        with anyio.fail_after(request.timeout):
            async with aclosing(context.client.get().generate(request)) as stream:
                generation = await collect(stream, on_text=view.text, on_reasoning=view.reasoning)
    except TimeoutError as error:
        seconds = time.monotonic() - started
        raise ProviderError(f"The model did not finish its answer in {seconds:.0f} s.", retryable=True) from error
    view.end()
    return generation
