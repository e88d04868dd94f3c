"""A conversation as the body of a Responses request: nothing is stored at the vendor, reasoning travels encrypted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from perstack.messages import (
    ContentPart,
    ExpertMessage,
    ImagePart,
    InstructionMessage,
    JsonObject,
    JsonValue,
    Message,
    SpokenPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UserMessage,
    VendorPart,
    text_of,
)
from perstack.model_http import data_url, effort_of, known_model, unsendable
from perstack.protocols import GenerateRequest

from perstack_provider_openai.chat_request import is_strict
from perstack_provider_openai.profiles import Profile

REASONING = "openai:"
"""Before a reasoning item's id, a colon, and its encrypted content."""
VENDOR = "openai"
"""Whose items of tools that run at the vendor these are."""


def responses_body(request: GenerateRequest, profile: Profile) -> JsonObject:
    """The request's body without its input, which comes last."""
    body: JsonObject = {"model": request.model, "store": False}
    tools: list[JsonValue] = [*_vendors(request.provider_tools)]
    if request.tools or tools:
        body["tools"] = tools + [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.input_schema,
                "strict": False,
            }
            for tool in request.tools
        ]
    if request.max_output_tokens is not None:
        body["max_output_tokens"] = request.max_output_tokens
    if (schema := request.output_schema) is not None:
        form: JsonObject = {"type": "json_schema", "name": "result", "schema": schema, "strict": is_strict(schema)}
        body["text"] = {"format": form}
    known = request.info or known_model(profile.models, request.model)
    level = effort_of(request.reasoning_tokens, known)
    if level is not None:
        body["reasoning"] = {"effort": level, **({} if level == "none" else {"summary": "auto"})}
    if level not in {None, "none"} or (known is not None and known.reasoning):
        body["include"] = ["reasoning.encrypted_content"]
    return {**body, "stream": True}


def _vendors(wanted: Mapping[str, JsonObject]) -> Iterator[JsonObject]:
    """The tools that run at the vendor. A search of files without a store to search is left out."""
    for name, options in wanted.items():
        stores = options.get("vectorStoreIds")
        if name == "fileSearch" and stores:
            yield {"type": "file_search", "vector_store_ids": stores}
        elif name == "webSearch":
            domains = options.get("allowedDomains")
            yield {"type": "web_search", **({"filters": {"allowed_domains": domains}} if domains else {})}
        elif name == "webSearchPreview":
            yield {"type": "web_search_preview"}
        elif name == "codeInterpreter":
            yield {"type": "code_interpreter", "container": {"type": "auto"}}
        elif name == "imageGeneration":
            yield {"type": "image_generation"}


def responses_items(message: Message) -> Iterator[JsonObject]:
    """The items of a message."""
    if isinstance(message, InstructionMessage):
        yield {"role": "developer", "content": text_of(message.contents)}
    elif isinstance(message, UserMessage):
        yield {"role": "user", "content": _content(message.contents)}
    elif isinstance(message, ExpertMessage):
        for part in message.contents:
            yield from _said(part)
    else:
        for result in message.contents:
            yield _result(result)


def _said(part: SpokenPart) -> Iterator[JsonObject]:
    if isinstance(part, TextPart):
        yield {"role": "assistant", "content": part.text}
    elif isinstance(part, ToolCallPart):
        arguments = msgspec.json.encode(part.args).decode()
        yield {"type": "function_call", "call_id": part.tool_call_id, "name": part.tool_name, "arguments": arguments}
    elif isinstance(part, VendorPart):
        if part.vendor == VENDOR:
            yield part.block
    elif part.signature and part.signature.startswith(REASONING):
        identity, _, proof = part.signature.removeprefix(REASONING).partition(":")
        summary: list[JsonValue] = [{"type": "summary_text", "text": part.thinking}] if part.thinking else []
        yield {"type": "reasoning", "id": identity, "summary": summary, "encrypted_content": proof}


def _result(result: ToolResultPart) -> JsonObject:
    only_text = all(isinstance(part, TextPart) for part in result.contents)
    output: JsonValue = text_of(result.contents) if only_text else [_block(part) for part in result.contents]
    return {"type": "function_call_output", "call_id": result.tool_call_id, "output": output}


def _content(parts: Iterable[ContentPart]) -> JsonValue:
    blocks = [_block(part) for part in parts]
    if len(blocks) == 1 and blocks[0]["type"] == "input_text":
        return blocks[0]["text"]
    return [*blocks]


def _block(part: ContentPart) -> JsonObject:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    url = data_url(part)
    if isinstance(part, ImagePart):
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    if part.mime_type == "application/pdf":
        return {"type": "input_file", "filename": "document.pdf", "file_data": url}
    return {"type": "input_text", "text": unsendable(part.mime_type)}
