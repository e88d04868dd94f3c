"""A conversation as the body of a messages request, with cache marks on what stays the same from step to step."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence

from perstack.messages import (
    ContentPart,
    ExpertMessage,
    ImagePart,
    InstructionMessage,
    JsonObject,
    JsonValue,
    Message,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolDefinition,
    ToolMessage,
    ToolResultPart,
    text_of,
)
from perstack.model_http import effort, known_model
from perstack.protocols import GenerateRequest
from perstack.specs import ModelInfo

from perstack_provider_anthropic.models import TAKES_BUDGET
from perstack_provider_anthropic.signatures import REDACTED, THINKING

OUTPUT_TOKENS = 8_192
"""Answer limit for models that nothing is known of: every model that the vendor still serves takes it."""
LEAST_THINKING = 1_024
"""The vendor's smallest budget; it also has to be below the answer limit."""
IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
CACHED: JsonObject = {"type": "ephemeral"}


def messages_body(request: GenerateRequest, models: Mapping[str, ModelInfo]) -> JsonObject:
    """The request's body. Its cache marks stand on the last tool, the system prompt and the newest message."""
    known = known_model(models, request.model)
    limit = request.max_output_tokens or (known and known.max_output) or OUTPUT_TOKENS
    body: JsonObject = {"model": request.model, "max_tokens": limit}
    system = "\n".join(text_of(m.contents) for m in request.messages if isinstance(m, InstructionMessage))
    if system.strip():
        body["system"] = [{"type": "text", "text": system, "cache_control": CACHED}]
    if request.tools:
        tools = [_tool(tool) for tool in request.tools]
        tools[-1]["cache_control"] = CACHED
        body["tools"] = [*tools]
    body["messages"] = [*_marked(_messages(request.messages))]
    if (known is None or known.reasoning) and not _continues_unsigned(request.messages):
        body.update(_thinking_wish(request.model, request.reasoning_tokens, limit))
    return {**body, "stream": True}


def _thinking_wish(model: str, tokens: int, limit: int) -> JsonObject:
    budget = thinking_budget(tokens, limit)
    if not budget:
        return {}
    if model.startswith(TAKES_BUDGET):
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    return {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": effort(tokens)}}


def thinking_budget(wanted: int, limit: int) -> int:
    """The budget that the vendor takes for `wanted` tokens under an answer limit; 0 is none."""
    if wanted <= 0 or limit <= LEAST_THINKING:
        return 0
    return min(max(wanted, LEAST_THINKING), max(limit // 2, LEAST_THINKING))


def _continues_unsigned(messages: Sequence[Message]) -> bool:
    """Whether tool results are sent back to an answer that did not think: then the vendor refuses to begin thinking."""
    if not messages or not isinstance(messages[-1], ToolMessage):
        return False
    last = next((message for message in reversed(messages) if isinstance(message, ExpertMessage)), None)
    return last is not None and not any(_thinking(part) for part in last.contents if isinstance(part, ThinkingPart))


def _tool(tool: ToolDefinition) -> JsonObject:
    return {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}


def _messages(messages: Sequence[Message]) -> list[JsonObject]:
    """Turns that alternate, as the format wants them; what has no content is left out."""
    turns: list[JsonObject] = []
    for message in messages:
        if isinstance(message, InstructionMessage):
            continue
        role = "assistant" if isinstance(message, ExpertMessage) else "user"
        blocks: list[JsonValue] = [*_blocks(message)]
        previous = turns[-1]["content"] if turns and turns[-1]["role"] == role else None
        if isinstance(previous, list):
            previous += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _marked(turns: list[JsonObject]) -> list[JsonObject]:
    """The turns with a cache mark on the newest block, where the next step's prefix ends."""
    content = turns[-1]["content"] if turns else None
    if isinstance(content, list) and isinstance(content[-1], dict):
        content[-1]["cache_control"] = CACHED
    return turns


def _blocks(message: Message) -> Iterator[JsonObject]:
    if isinstance(message, ExpertMessage):
        for part in message.contents:
            yield from _said(part)
    elif isinstance(message, ToolMessage):
        for result in message.contents:
            yield _result(result)
    else:
        for content in message.contents:
            yield from _content(content)


def _said(part: TextPart | ThinkingPart | ToolCallPart) -> Iterator[JsonObject]:
    if isinstance(part, ToolCallPart):
        yield {"type": "tool_use", "id": part.tool_call_id, "name": part.tool_name, "input": part.args}
    elif isinstance(part, ThinkingPart):
        block = _thinking(part)
        if block is not None:
            yield block
    else:
        yield from _content(part)


def _thinking(part: ThinkingPart) -> JsonObject | None:
    """The block that the vendor signed; other vendors' reasoning stays with them."""
    signature = part.signature or ""
    if signature.startswith(THINKING):
        return {"type": "thinking", "thinking": part.thinking, "signature": signature.removeprefix(THINKING)}
    if signature.startswith(REDACTED):
        return {"type": "redacted_thinking", "data": signature.removeprefix(REDACTED)}
    return None


def _result(result: ToolResultPart) -> JsonObject:
    block: JsonObject = {"type": "tool_result", "tool_use_id": result.tool_call_id}
    content: list[JsonValue] = [item for part in result.contents for item in _content(part)]
    if content:
        block["content"] = content
    if result.is_error:
        block["is_error"] = True
    return block


def _content(part: ContentPart) -> Iterator[JsonObject]:
    if isinstance(part, TextPart):
        if part.text.strip():  # the format refuses empty texts
            yield {"type": "text", "text": part.text}
        return
    source: JsonObject = {"type": "base64", "media_type": part.mime_type, "data": part.encoded_data}
    if isinstance(part, ImagePart) and part.mime_type in IMAGES:
        yield {"type": "image", "source": source}
    elif part.mime_type == "application/pdf":
        yield {"type": "document", "source": source}
    elif part.mime_type.startswith("text/"):
        yield {"type": "text", "text": _text(part.encoded_data)}
    else:
        text = f"[A file of type {part.mime_type} stood here; this model's format cannot carry it.]"
        yield {"type": "text", "text": text}


def _text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "replace") or "(empty)"
    except (ValueError, binascii.Error):
        return "[A text file stood here; its encoding was broken.]"
