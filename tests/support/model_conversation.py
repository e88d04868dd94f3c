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
    UserMessage,
)

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
