"""The embedded model as a `Provider`."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
from perstack.errors import ProviderError
from perstack.ids import new_id
from perstack.messages import (
    ExpertMessage,
    FinishReason,
    JsonObject,
    Message,
    ToolCallPart,
    ToolDefinition,
    ToolMessage,
    ToolResultPart,
    Usage,
)
from perstack.protocols import Finish, GenerateRequest, StreamPart, TextDelta, ToolCallRequest

from perstack_provider_embedded.engine import Completion, Engine
from perstack_provider_embedded.grammar import FINISH, Answer, Call, grammar, parse, result_grammar, without_optional
from perstack_provider_embedded.prompt import chat_turns, written
from perstack_provider_embedded.weights import KNOWN, find_weights

MAX_OUTPUT = 1024
"""Tokens of an answer when nobody says otherwise: a text of about four pages, or ten seconds."""


class EmbeddedProvider:
    """Models in this process, loaded at their first question, one at a time.

    An answer is a call or a text only when it is whole, so its parts come together at its end.
    """

    def __init__(self, *, cache_dir: Path, threads: int, context: int) -> None:
        self._cache_dir = cache_dir
        self._threads = threads
        self._context = context
        self._lock = anyio.Lock()
        self._loaded: tuple[Path, Engine] | None = None

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[StreamPart, None]:
        """The answer's parts, of which the last is `Finish`. Cancelling ends the generation within 256 tokens.

        Raises:
            ProviderError: There are no weights, the conversation does not fit, or time ran out.
        """
        parts: list[StreamPart] | None = None
        with anyio.move_on_after(request.timeout):
            engine = await self._engine(request.model)
            parts = await _ask(engine, request)
        if parts is None:
            raise ProviderError(
                f"The embedded model did not finish within {request.timeout:g} s.",
                hint="Raise the timeout, shorten the conversation, or give the model more threads.",
            )
        for part in parts:
            yield part

    async def aclose(self) -> None:
        """The model's memory is free again."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                await self._unload()

    async def _engine(self, model: str) -> Engine:
        """The engine of `model`; another one that was loaded makes room for it."""
        async with self._lock:
            path = find_weights(model, self._cache_dir)
            if self._loaded is None or self._loaded[0] != path:
                await self._unload()
                engine = await anyio.to_thread.run_sync(self._load, path)
                self._loaded = (path, engine)
            return self._loaded[1]

    def _load(self, path: Path) -> Engine:
        return Engine(path, threads=self._threads, context=self._context)

    async def _unload(self) -> None:
        if self._loaded is not None:
            _, engine = self._loaded
            self._loaded = None
            await anyio.to_thread.run_sync(engine.close)


async def _ask(engine: Engine, request: GenerateRequest) -> list[StreamPart]:
    """The answer's parts. The known models are tiny, and get crutches that a file of the user's does not.

    They are told of required arguments only, and of results without marks. When one repeats its last call word for
    word, although that succeeded, it is stuck: it is asked once more, and cannot call that tool.
    """
    tiny = request.model in KNOWN
    tools = tuple(map(without_optional, request.tools)) if tiny else request.tools
    body = _body(request, tools, tiny=tiny)
    completion = await _complete(engine, body)
    said, usage = parse(completion.text, tools, result=request.output_schema), _usage(completion)
    if tiny and isinstance(said, Call) and said == _last_success(request.messages):
        others = [tool for tool in tools if tool.name != said.name]
        body["grammar"] = grammar(others, result=request.output_schema)
        completion = await _complete(engine, body)
        usage += _usage(completion)
    return _parts(completion, usage, tools, request.output_schema)


async def _complete(engine: Engine, body: JsonObject) -> Completion:
    stop = threading.Event()

    def work() -> Completion | None:
        return engine.complete(body, stop=stop)

    try:
        completion = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    finally:
        stop.set()
    if completion is None:  # only who sets `stop` can bring this about
        raise ProviderError("The embedded model was stopped.", retryable=True)
    return completion


def _last_success(messages: Sequence[Message]) -> Call | None:
    """The call that the last turn was, when it was one call that succeeded."""
    match messages[-2:]:
        case [ExpertMessage(contents=spoken), ToolMessage(contents=(ToolResultPart(is_error=False),))]:
            calls = [part for part in spoken if isinstance(part, ToolCallPart)]
            return Call(name=calls[0].tool_name, args=calls[0].args) if len(calls) == 1 else None
        case _:
            return None


def _body(request: GenerateRequest, tools: Sequence[ToolDefinition], *, tiny: bool) -> JsonObject:
    """The request in llama.cpp's words: greedy, so that one conversation has one answer."""
    body: JsonObject = {
        "messages": chat_turns(request.messages, tools, marks=not tiny),
        "temperature": 0,
        "max_tokens": request.max_output_tokens or MAX_OUTPUT,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    if tools:
        body["grammar"] = grammar(tools, result=request.output_schema)
    elif request.output_schema is not None:
        body["grammar"] = result_grammar(request.output_schema)
    return body


def _usage(completion: Completion) -> Usage:
    return Usage(
        input_tokens=completion.prompt_tokens,
        output_tokens=completion.output_tokens,
        cached_input_tokens=completion.cached_tokens,
        total_tokens=completion.prompt_tokens + completion.output_tokens,
    )


def _parts(
    completion: Completion, usage: Usage, tools: Sequence[ToolDefinition], result: JsonObject | None
) -> list[StreamPart]:
    """What was written, as parts. Of an answer that was cut, a half call is worth nothing and is left out."""
    parts: list[StreamPart] = []
    reason: FinishReason = completion.finish
    if not tools:
        parts.append(TextDelta(text=completion.text))
    elif completion.finish == "stop":
        match parse(completion.text, tools, result=result):
            case Call(name=name, args=args):
                parts.append(_request(name, args))
                reason = "tool-calls"
            case Answer(text=text):
                parts.append(TextDelta(text=text))
                if any(tool.name == FINISH for tool in tools):
                    parts.append(_request(FINISH, {}))
                    reason = "tool-calls"
            case None:
                raise ProviderError(
                    "The embedded model wrote something that is neither a call nor an answer.",
                    hint="llama.cpp could not compile the grammar of these tools. Leave tools out with pick or omit.",
                )
    return [*parts, Finish(reason=reason, usage=usage)]


def _request(name: str, args: JsonObject) -> ToolCallRequest:
    return ToolCallRequest(id=f"call-{new_id()}", name=name, args=args, raw_args=written(args))
