"""The conversation, free of any vendor's format: what is sent to models, kept in journals and shown in events.

All types are frozen, and their JSON has the camelCase keys and the ``type`` tags that Perstack's events always had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
else:  # msgspec resolves field types at run time and knows no recursive aliases
    JsonValue: TypeAlias = Any
JsonObject: TypeAlias = dict[str, JsonValue]

FinishReason = Literal["stop", "tool-calls", "length", "refusal", "pause", "other", "error"]
"""Why a model stopped. After a ``pause`` it goes on when it is sent its own answer, ``other`` is a word that nobody
knows, and ``error`` is a failure that may pass."""


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A value that is written as JSON with camelCase keys, absent where it equals its default."""


class Usage(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """Tokens of one request, or a sum of several, and what they cost.

    Tokens that were read from or written to the vendor's cache are part of the input, reasoning is part of the output.
    `cost` is in US dollars, as far as prices are known; None where none is.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_input_tokens: int = 0
    total_tokens: int = 0
    cache_write_tokens: int = 0
    cost: float | None = None

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cost=_sum(self.cost, other.cost),
        )


def _sum(one: float | None, other: float | None) -> float | None:
    return (one or 0.0) + (other or 0.0) if one is not None or other is not None else None


NO_USAGE = Usage()


class TextPart(Wire, frozen=True, kw_only=True, tag_field="type", tag="textPart"):
    """Plain text. Of a model's, `signature` is what its vendor wants back with it, such as its sources."""

    text: str
    signature: str | None = None


class ImagePart(Wire, frozen=True, kw_only=True, tag_field="type", tag="imageInlinePart"):
    """An image as base64."""

    encoded_data: str
    mime_type: str


class FilePart(Wire, frozen=True, kw_only=True, tag_field="type", tag="fileInlinePart"):
    """A file (a PDF, a sound, any other resource) as base64."""

    encoded_data: str
    mime_type: str


class ThinkingPart(Wire, frozen=True, kw_only=True, tag_field="type", tag="thinkingPart"):
    """A model's reasoning; `signature` is its vendor's opaque proof, handed back unchanged to the same vendor."""

    thinking: str
    signature: str | None = None


class ToolCallPart(Wire, frozen=True, kw_only=True, tag_field="type", tag="toolCallPart"):
    """A model's request for one tool call."""

    tool_call_id: str
    tool_name: str
    args: JsonObject
    signature: str | None = None


class VendorPart(Wire, frozen=True, kw_only=True, tag_field="type", tag="vendorPart"):
    """A block that only its vendor reads, such as what a tool of its own did; handed back unchanged to the same one."""

    vendor: str
    block: JsonObject


ContentPart: TypeAlias = TextPart | ImagePart | FilePart
"""What a person or a tool can say."""

SpokenPart: TypeAlias = TextPart | ThinkingPart | ToolCallPart | VendorPart
"""What a model can say."""


class ToolResultPart(Wire, frozen=True, kw_only=True, tag_field="type", tag="toolResultPart"):
    """The answer to one tool call."""

    tool_call_id: str
    tool_name: str
    contents: tuple[ContentPart, ...]
    is_error: bool = False


class InstructionMessage(Wire, frozen=True, kw_only=True, tag_field="type", tag="instructionMessage"):
    """The system prompt."""

    id: str
    contents: tuple[TextPart, ...]


class UserMessage(Wire, frozen=True, kw_only=True, tag_field="type", tag="userMessage"):
    """What the person, or the delegating Expert, says."""

    id: str
    contents: tuple[ContentPart, ...]


class ExpertMessage(Wire, frozen=True, kw_only=True, tag_field="type", tag="expertMessage"):
    """What the model said, in its order."""

    id: str
    contents: tuple[SpokenPart, ...]


class ToolMessage(Wire, frozen=True, kw_only=True, tag_field="type", tag="toolMessage"):
    """The results of one step's tool calls, in call order."""

    id: str
    contents: tuple[ToolResultPart, ...]


Message: TypeAlias = InstructionMessage | UserMessage | ExpertMessage | ToolMessage


class ToolDefinition(Wire, frozen=True, kw_only=True):
    """A tool as a model is told of it."""

    name: str
    description: str
    input_schema: JsonObject


class ToolCall(Wire, frozen=True, kw_only=True):
    """A tool call with the skill that serves it; `tool_name` is the name that the model used."""

    id: str
    skill_name: str
    tool_name: str
    args: JsonObject


class ToolResult(Wire, frozen=True, kw_only=True):
    """What came of a `ToolCall`; a failure, a denial and an interruption are results too.

    `untrusted` says that the skill's server wrote it; what perstack or the person says is not.
    """

    id: str
    skill_name: str
    tool_name: str
    result: tuple[ContentPart, ...]
    is_error: bool = False
    untrusted: bool = False


def object_of(value: object) -> JsonObject:
    """The JSON object; an empty one in place of anything else, for data in which what is missing reads as empty."""
    return value if isinstance(value, dict) else {}


def text_of(parts: tuple[object, ...]) -> str:
    """The texts among `parts`, joined by newlines; empty when there are none."""
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def spoken_text(parts: tuple[object, ...]) -> str:
    """What a model said: neighbours are one text in several pieces, others are joined by newlines."""
    pieces: list[str] = []
    before: object = None
    for part in parts:
        if isinstance(part, TextPart):
            pieces += ["\n"] if pieces and not isinstance(before, TextPart) else []
            pieces.append(part.text)
        before = part
    return "".join(pieces)


def text_result(call: ToolCall, text: str, *, is_error: bool = False) -> ToolResult:
    """The answer to `call` in words."""
    return ToolResult(
        id=call.id,
        skill_name=call.skill_name,
        tool_name=call.tool_name,
        result=(TextPart(text=text),),
        is_error=is_error,
    )
