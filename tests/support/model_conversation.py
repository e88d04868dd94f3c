"""A conversation that has everything a conversation can have, for tests of wire formats."""

from __future__ import annotations

from perstack.messages import (
    ExpertMessage,
    FilePart,
    ImagePart,
    InstructionMessage,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolDefinition,
    ToolMessage,
    ToolResultPart,
    Usage,
    UserMessage,
)
from perstack.testing.model_server import Call, Turn

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKJSVFT0YK"
SOUND = "UklGRiQAAABXQVZF"

TOOLS = (
    ToolDefinition(
        name="readFile",
        description="Read a file.",
        input_schema={"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    ),
    ToolDefinition(name="todo", description="Keep a list.", input_schema={"type": "object", "properties": {}}),
)


def conversation(*, signature: str | None = None) -> tuple[Message, ...]:
    """Instruction, question with image and PDF, reasoning and two calls, two results, an answer, a question."""
    return (
        InstructionMessage(id="1", contents=(TextPart(text="You are careful."),)),
        UserMessage(
            id="2",
            contents=(
                TextPart(text="Compare these."),
                ImagePart(encoded_data=PNG, mime_type="image/png"),
                FilePart(encoded_data=PDF, mime_type="application/pdf"),
            ),
        ),
        ExpertMessage(
            id="3",
            contents=(
                ThinkingPart(thinking="Two files.", signature=signature),
                TextPart(text="I read both."),
                ToolCallPart(tool_call_id="call_a", tool_name="readFile", args={"path": "grün.txt"}),
                ToolCallPart(tool_call_id="call_b", tool_name="readFile", args={"path": "b.png"}),
            ),
        ),
        ToolMessage(
            id="4",
            contents=(
                ToolResultPart(
                    tool_call_id="call_a",
                    tool_name="readFile",
                    contents=(TextPart(text="no such file"),),
                    is_error=True,
                ),
                ToolResultPart(
                    tool_call_id="call_b",
                    tool_name="readFile",
                    contents=(ImagePart(encoded_data=PNG, mime_type="image/png"),),
                ),
            ),
        ),
        ExpertMessage(id="5", contents=(TextPart(text="One is missing."),)),
        UserMessage(id="6", contents=(TextPart(text="Go on."),)),
    )


def streamed_turn(*, signature: str = "signature-of-a-test", reasoning_tokens: int = 0) -> Turn:
    """Reasoning, a text and two calls that arrive in pieces of three characters, as one answer of a scripted model."""
    return Turn(
        reasoning="Wait – both?",
        signature=signature,
        text="Grüße, and a text long enough for several pieces",
        calls=[Call("readFile", {"path": "ü"}), Call("todo", {})],
        usage=Usage(
            input_tokens=120,
            output_tokens=40,
            reasoning_tokens=reasoning_tokens,
            cached_input_tokens=64,
            total_tokens=160,
        ),
        times=None,
        piece=3,
    )
