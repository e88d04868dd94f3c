"""A provider's answer, gathered whole, so that a test can say what it expects of it."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from dataclasses import dataclass

from perstack.messages import InstructionMessage, JsonObject, Message, TextPart, ToolDefinition, UserMessage
from perstack.protocols import (
    Finish,
    GenerateRequest,
    Provider,
    ReasoningDelta,
    ReasoningEnd,
    StreamPart,
    TextDelta,
    ToolCallRequest,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """All parts of one answer; `parts` keeps their order."""

    parts: tuple[StreamPart, ...]

    @property
    def text(self) -> str:
        """What it says."""
        return "".join(part.text for part in self.parts if isinstance(part, TextDelta))

    @property
    def reasoning(self) -> str:
        """What it thinks."""
        return "".join(part.text for part in self.parts if isinstance(part, ReasoningDelta))

    @property
    def signatures(self) -> tuple[str | None, ...]:
        """The proof of each block of reasoning."""
        return tuple(part.signature for part in self.parts if isinstance(part, ReasoningEnd))

    @property
    def calls(self) -> tuple[ToolCallRequest, ...]:
        """Its tool calls."""
        return tuple(part for part in self.parts if isinstance(part, ToolCallRequest))

    @property
    def finish(self) -> Finish:
        """The last part."""
        last = self.parts[-1]
        assert isinstance(last, Finish), f"the answer ends with {last!r}"
        return last


async def answer(provider: Provider, request: GenerateRequest) -> Answer:
    """The whole answer to `request`."""
    parts: list[StreamPart] = []
    async with aclosing(provider.generate(request)) as stream:
        parts.extend([part async for part in stream])
    return Answer(parts=tuple(parts))


def question(
    *messages: Message,
    model: str = "test-model",
    tools: tuple[ToolDefinition, ...] = (),
    timeout: float = 20.0,
    reasoning_tokens: int = 0,
    max_output_tokens: int | None = None,
    output_schema: JsonObject | None = None,
) -> GenerateRequest:
    """A request with `messages`, or with a short conversation that no other test has."""
    nonce = uuid.uuid4().hex
    own = (
        InstructionMessage(id="m0", contents=(TextPart(text=f"You are {nonce}."),)),
        UserMessage(id="m1", contents=(TextPart(text=f"Say {nonce}."),)),
    )
    return GenerateRequest(
        model=model,
        messages=messages or own,
        tools=tools,
        timeout=timeout,
        reasoning_tokens=reasoning_tokens,
        max_output_tokens=max_output_tokens,
        output_schema=output_schema,
    )
