"""A conversation as the body of a generateContent request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from perstack.messages import (
    ContentPart,
    ExpertMessage,
    InstructionMessage,
    JsonObject,
    JsonValue,
    Message,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolResultPart,
    VendorPart,
    text_of,
)
from perstack.model_http import budget_of, effort_of, instruction_of, known_model, unsendable
from perstack.protocols import GenerateRequest
from perstack.specs import ModelInfo

SIGNATURE = "google:"
"""Before the vendor's signature of a thought, so that no other vendor gets it."""
VENDOR = "google"
"""Whose parts of tools that run at the vendor these are."""
UNSIGNED = "skip_thought_signature_validator"
"""What the vendor takes in place of a signature for a call that another model made."""
VENDORS = frozenset({"googleSearch", "codeExecution", "urlContext", "googleMaps", "enterpriseWebSearch", "fileSearch"})
"""Tools that run at the vendor, by the names that the format has for them too."""
INLINE = ("image/", "audio/", "video/", "text/")


def generate_body(
    request: GenerateRequest, models: Mapping[str, ModelInfo], *, shows_own_tools: bool = False
) -> JsonObject:
    """The request's body without its contents, which come last.

    `shows_own_tools` says that the server tells what its own tools did; it takes ours beside them only then.
    """
    body: JsonObject = {}
    system = instruction_of(request.messages)
    if system.strip():
        body["systemInstruction"] = {"parts": [{"text": system}]}
    tools: list[JsonValue] = [*_vendors(request.provider_tools)]
    if tools and request.tools and shows_own_tools:
        body["toolConfig"] = {"includeServerSideToolInvocations": True}
    if request.tools:
        tools.append({"functionDeclarations": [_tool(tool) for tool in request.tools]})
    if tools:
        body["tools"] = tools
    config: JsonObject = {}
    if request.max_output_tokens is not None:
        config["maxOutputTokens"] = request.max_output_tokens
    thinking = _thinking(request.reasoning_tokens, request.info or known_model(models, request.model))
    if thinking:
        config["thinkingConfig"] = thinking
    if request.output_schema is not None:
        config |= {"responseMimeType": "application/json", "responseJsonSchema": request.output_schema}
    return {**body, "generationConfig": config} if config else body


def _vendors(wanted: Mapping[str, JsonObject]) -> Iterator[JsonObject]:
    """The tools that run at the vendor. A search of files without a store to search is left out."""
    for name, options in wanted.items():
        if name == "fileSearch":
            if stores := options.get("vectorStoreIds"):
                yield {name: {"fileSearchStoreNames": stores}}
        elif name in VENDORS:
            yield {name: {}}


def _thinking(tokens: int, known: ModelInfo | None) -> JsonObject:
    if known is not None and known.efforts:
        level = effort_of(tokens, known)
        return {"includeThoughts": tokens > 0, "thinkingLevel": level.upper()} if level else {}
    budget = budget_of(tokens, known)
    if budget:
        return {"includeThoughts": True, "thinkingBudget": budget}
    if known is not None and known.reasoning:  # they think by themselves unless they are told not to
        return {"thinkingBudget": known.least_reasoning}
    return {}


def _tool(tool: ToolDefinition) -> JsonObject:
    return {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.input_schema}


def message_contents(message: Message, *, ids: bool) -> Iterator[JsonObject]:
    """The contents of a message; `ids` says whether calls have one."""
    if isinstance(message, InstructionMessage):
        return
    if isinstance(message, ExpertMessage):
        parts = [*_said(message, ids=ids)]
        if parts:
            yield {"role": "model", "parts": [*parts]}
        return
    parts = []
    for item in message.contents:
        parts += _result(item, ids=ids) if isinstance(item, ToolResultPart) else [_content(item)]
    yield {"role": "user", "parts": [*parts]}


def _said(message: ExpertMessage, *, ids: bool) -> Iterator[JsonObject]:
    """What the model said. Its thoughts are summaries for people: the vendor takes none of them back."""
    signed = False
    for part in message.contents:
        if isinstance(part, TextPart):
            yield {"text": part.text, **_proof(part.signature)}
        elif isinstance(part, VendorPart):
            if part.vendor == VENDOR:
                yield part.block
        elif isinstance(part, ToolCallPart):
            call: JsonObject = {"name": part.tool_name, "args": part.args}
            said: JsonObject = {"functionCall": {**call, "id": part.tool_call_id} if ids else call}
            # A step's first call has to have one.
            yield {**said, **(_proof(part.signature) or ({} if signed else {"thoughtSignature": UNSIGNED}))}
            signed = True


def _proof(signature: str | None) -> JsonObject:
    """The vendor's signature of a part; those of others stay with them."""
    if signature is None or not signature.startswith(SIGNATURE):
        return {}
    return {"thoughtSignature": signature.removeprefix(SIGNATURE)}


def _result(result: ToolResultPart, *, ids: bool) -> list[JsonObject]:
    """The result as an object, and what is no text in it beside it."""
    text = text_of(result.contents)
    response: JsonObject = {"error" if result.is_error else "output": text}
    answer: JsonObject = {"name": result.tool_name, "response": response}
    if ids:
        answer["id"] = result.tool_call_id
    others = [_content(part) for part in result.contents if not isinstance(part, TextPart)]
    return [{"functionResponse": answer}, *others]


def _content(part: ContentPart) -> JsonObject:
    if isinstance(part, TextPart):
        return {"text": part.text}
    if part.mime_type.startswith(INLINE) or part.mime_type == "application/pdf":
        data: JsonValue = {"mimeType": part.mime_type, "data": part.encoded_data}
        return {"inlineData": data}
    return {"text": unsendable(part.mime_type)}
