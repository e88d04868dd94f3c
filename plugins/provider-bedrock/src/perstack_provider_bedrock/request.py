"""A conversation as the body of a Converse request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import msgspec
from perstack.messages import (
    ContentPart,
    ExpertMessage,
    ImagePart,
    JsonObject,
    JsonValue,
    Message,
    SpokenPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolDefinition,
    ToolMessage,
    ToolResultPart,
    VendorPart,
)
from perstack.model_http import budget_of, continues_unsigned, effort_of, instruction_of, turns, unsendable
from perstack.protocols import GenerateRequest
from perstack.specs import ModelInfo

from perstack_provider_bedrock.plugin import MODELS

THINKING = "bedrock:"
"""Before the signature of a thought."""
REDACTED = "bedrock-redacted:"
"""Before the data of a thought whose text the vendor withholds."""
IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
CLAUDE = "anthropic.claude"
OUTPUT_TOKENS = 4_096
"""Answer limit for a Claude that thinks and that nothing is known of: thinking has to be below some limit."""
CACHE_POINT: JsonObject = {"cachePoint": {"type": "default"}}


def converse_body(request: GenerateRequest) -> JsonObject:
    """The request's body without its messages, which come last."""
    info, claude = request.info or MODELS.get(request.model), CLAUDE in request.model
    marks: list[JsonValue] = [CACHE_POINT] if claude else []
    body: JsonObject = {}
    system = instruction_of(request.messages)
    if system.strip():
        body["system"] = [{"text": system}, *marks]
    if request.tools:
        body["toolConfig"] = {"tools": [*(_tool(tool) for tool in request.tools), *marks]}
    output: JsonObject = {}
    if request.output_schema is not None:
        schema: JsonObject = {"name": "result", "schema": msgspec.json.encode(request.output_schema).decode()}
        output["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": schema}}
        body["outputConfig"] = output
    limit = request.max_output_tokens or (info and info.max_output)
    budget = budget_of(request.reasoning_tokens, info, limit=limit or OUTPUT_TOKENS) if claude else 0
    if budget and not continues_unsigned(request.messages, _thought):
        body["additionalModelRequestFields"] = {"thinking": _thinking(budget, info)}
        if level := _level(budget, info):
            body["outputConfig"] = {**output, "effort": level}
        limit = limit or OUTPUT_TOKENS
    return {**body, "inferenceConfig": {"maxTokens": limit}} if limit else body


def _thinking(budget: int, info: ModelInfo | None) -> JsonObject:
    if _level(budget, info) is not None:
        return {"type": "adaptive", "display": "summarized"}
    return {"type": "enabled", "budget_tokens": max(budget, 1024)}


def _level(budget: int, info: ModelInfo | None) -> str | None:
    """The effort of a Claude that chooses its budget itself, as all do since 4.6; None of one that takes a number."""
    return effort_of(budget, info) if info is not None and info.efforts else None


def marked_turns(
    request: GenerateRequest, blocks: Callable[[Message], Sequence[msgspec.Raw]]
) -> list[dict[str, object]]:
    """The conversation's turns, with a cache point behind the newest where one is taken."""
    found = turns(request.messages, blocks)
    if found and CLAUDE in request.model:
        newest = found[-1]["content"]
        found[-1]["content"] = [*newest, msgspec.Raw(msgspec.json.encode(CACHE_POINT))]  # type: ignore[misc]
    return found


def message_blocks(message: Message) -> Iterator[JsonObject]:
    """The blocks of a message."""
    if isinstance(message, ExpertMessage):
        for part in message.contents:
            yield from _said(part)
    elif isinstance(message, ToolMessage):
        for result in message.contents:
            yield _result(result)
    else:
        for index, content in enumerate(message.contents):
            yield from _content(content, name=f"{message.id}-{index}")


def _tool(tool: ToolDefinition) -> JsonObject:
    spec: JsonObject = {"name": tool.name, "inputSchema": {"json": tool.input_schema}}
    return {"toolSpec": {**spec, "description": tool.description} if tool.description else spec}


def _said(part: SpokenPart) -> Iterator[JsonObject]:
    if isinstance(part, ToolCallPart):
        yield {"toolUse": {"toolUseId": part.tool_call_id, "name": part.tool_name, "input": part.args}}
    elif isinstance(part, ThinkingPart):
        thought = _thought(part)
        if thought is not None:
            yield {"reasoningContent": thought}
    elif not isinstance(part, VendorPart):
        yield from _content(part, name="")


def _thought(part: ThinkingPart) -> JsonObject | None:
    signature = part.signature or ""
    if signature.startswith(THINKING):
        return {"reasoningText": {"text": part.thinking, "signature": signature.removeprefix(THINKING)}}
    if signature.startswith(REDACTED):
        return {"redactedContent": signature.removeprefix(REDACTED)}
    return None


def _result(result: ToolResultPart) -> JsonObject:
    content: list[JsonValue] = [
        block
        for index, part in enumerate(result.contents)
        for block in _content(part, name=f"{result.tool_call_id}-{index}")
    ]
    status = "error" if result.is_error else "success"
    found: JsonObject = {
        "toolUseId": result.tool_call_id,
        "content": content or [{"text": "(empty)"}],
        "status": status,
    }
    return {"toolResult": found}


def _content(part: ContentPart, *, name: str) -> Iterator[JsonObject]:
    if isinstance(part, TextPart):
        if part.text.strip():  # the format refuses empty texts
            yield {"text": part.text}
    elif isinstance(part, ImagePart) and part.mime_type in IMAGES:
        yield {"image": {"format": IMAGES[part.mime_type], "source": {"bytes": part.encoded_data}}}
    elif part.mime_type in DOCUMENTS:
        plain = re.sub(r"[^A-Za-z0-9-]", "-", name)
        source: JsonObject = {"bytes": part.encoded_data}
        yield {"document": {"format": DOCUMENTS[part.mime_type], "name": f"document-{plain}", "source": source}}
    else:
        yield {"text": unsendable(part.mime_type)}
