"""A conversation as the body of a chat completions request. Equal beginnings give equal beginnings: they are cached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from perstack.messages import (
    ContentPart,
    ExpertMessage,
    FilePart,
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
    UserMessage,
    spoken_text,
    text_of,
)
from perstack.model_http import data_url, effort_of, known_model, unsendable
from perstack.protocols import GenerateRequest

from perstack_provider_openai.profiles import Profile

SOUNDS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


def chat_body(request: GenerateRequest, profile: Profile) -> JsonObject:
    """The request's body without its messages, which come last."""
    body: JsonObject = {"model": request.model}
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.max_output_tokens is not None:
        body[profile.output_limit] = request.max_output_tokens
    if request.output_schema is not None:
        body["response_format"] = _format(request.output_schema, profile)
    wish = _effort(request, profile)
    if wish:
        body["reasoning_effort"] = wish
    return {**body, "stream": True, "stream_options": {"include_usage": True}}


def _format(schema: JsonObject, profile: Profile) -> JsonObject:
    if not profile.takes_schemas:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "result", "schema": schema, "strict": is_strict(schema)}}


def is_strict(schema: JsonValue) -> bool:
    """Whether every object requires all of its properties, as the vendor's strict mode wants it."""
    if isinstance(schema, list):
        return all(map(is_strict, schema))
    if not isinstance(schema, dict):
        return True
    properties, required = schema.get("properties"), schema.get("required")
    names = set(properties) if isinstance(properties, dict) else set()
    return names <= set(required if isinstance(required, list) else ()) and all(map(is_strict, schema.values()))


def _effort(request: GenerateRequest, profile: Profile) -> str | None:
    if request.tools and request.model.startswith(profile.no_effort_with_tools):
        return "none"  # without a word they reason, and then refuse the tools
    if not profile.effort:
        return None
    return effort_of(request.reasoning_tokens, request.info or known_model(profile.models, request.model))


def _tool(tool: ToolDefinition) -> JsonObject:
    function: JsonObject = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return {"type": "function", "function": function}


def chat_messages(message: Message, profile: Profile) -> Iterator[JsonObject]:
    """A message in this format, which may need several for it."""
    if isinstance(message, InstructionMessage):
        yield {"role": "system", "content": text_of(message.contents)}
    elif isinstance(message, UserMessage):
        yield {"role": "user", "content": _content(message.contents)}
    elif isinstance(message, ExpertMessage):
        yield _assistant(message, profile)
    else:
        yield from _results(message)


def _assistant(message: ExpertMessage, profile: Profile) -> JsonObject:
    calls: list[JsonValue] = [
        {
            "id": part.tool_call_id,
            "type": "function",
            "function": {"name": part.tool_name, "arguments": msgspec.json.encode(part.args).decode()},
        }
        for part in message.contents
        if isinstance(part, ToolCallPart)
    ]
    text = spoken_text(message.contents)
    if not calls:
        return {"role": "assistant", "content": text}
    said: JsonObject = {"role": "assistant", "content": text or None, "tool_calls": calls}
    if profile.echo_reasoning:
        own = (part for part in message.contents if isinstance(part, ThinkingPart) and part.signature is None)
        said["reasoning_content"] = "".join(part.thinking for part in own)
    return said


def _results(message: ToolMessage) -> Iterator[JsonObject]:
    # Results are text in this format. Images and files follow in a user message, after the last result.
    others: list[ContentPart] = []
    for result in message.contents:
        inline = [part for part in result.contents if not isinstance(part, TextPart)]
        text = text_of(result.contents)
        if inline:
            others += [TextPart(text=f"From the result of {result.tool_name} ({result.tool_call_id}):"), *inline]
            text = text or "The content follows in the next message."
        yield {"role": "tool", "tool_call_id": result.tool_call_id, "content": text}
    if others:
        yield {"role": "user", "content": _content(others)}


def _content(parts: Iterable[ContentPart]) -> JsonValue:
    blocks = [_block(part) for part in parts]
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        return blocks[0]["text"]
    return [*blocks]


def _block(part: ContentPart) -> JsonObject:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    url = data_url(part)
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": url}}
    return _file(part, url)


def _file(part: FilePart, url: str) -> JsonObject:
    if part.mime_type == "application/pdf":
        return {"type": "file", "file": {"filename": "document.pdf", "file_data": url}}
    if part.mime_type in SOUNDS:
        return {"type": "input_audio", "input_audio": {"data": part.encoded_data, "format": SOUNDS[part.mime_type]}}
    return {"type": "text", "text": unsendable(part.mime_type)}
