"""A conversation as the body of a messages request, whose beginning stays the same from step to step."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

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
    object_of,
)
from perstack.model_http import budget_of, continues_unsigned, effort_of, instruction_of, known_model, unsendable
from perstack.protocols import GenerateRequest
from perstack.specs import ModelInfo

from perstack_provider_anthropic.signatures import CITED, CONTAINER, REDACTED, THINKING, VENDOR

OUTPUT_TOKENS = 8_192
"""Answer limit for models that nothing is known of: every model that the vendor still serves takes it."""
UNKNOWN = ModelInfo(reasoning=True, least_reasoning=1_024)
"""A model of the future: it reasons, and the vendor's smallest budget is as it is."""
IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
VENDORS = {
    "webSearch": ("web_search_20250305", "web_search"),
    "webFetch": ("web_fetch_20250910", "web_fetch"),
    "codeExecution": ("code_execution_20250825", "code_execution"),
}
"""Tools that run at the vendor: the name in a configuration, the type, and the name for the model."""
SKILLS = "providerSkills"
"""Skills that the vendor runs, among its tools in a request."""
MARGIN = timedelta(minutes=1)
"""A machine of the vendor's that ends so soon is not asked for again."""
OPTIONS = {"maxUses": "max_uses", "allowedDomains": "allowed_domains", "blockedDomains": "blocked_domains"}
CACHED: JsonObject = {"type": "ephemeral"}


def messages_body(request: GenerateRequest, models: Mapping[str, ModelInfo]) -> JsonObject:
    """The request's body without its messages, which come last.

    Cache marks stand on the last tool and the system prompt; the vendor sets the third itself, on the newest message,
    so that no mark moves through the bytes of the conversation.
    """
    known = request.info or known_model(models, request.model)
    limit = request.max_output_tokens or (known and known.max_output) or OUTPUT_TOKENS
    body: JsonObject = {"model": request.model, "max_tokens": limit, "cache_control": CACHED}
    tools = [*_vendors(request.provider_tools), *(_tool(tool) for tool in request.tools)]
    if machine := container(request, now=datetime.now(UTC)):
        body["container"] = machine
    if tools:
        tools[-1]["cache_control"] = CACHED
        body["tools"] = [*tools]
    system = instruction_of(request.messages)
    if system.strip():
        body["system"] = [{"type": "text", "text": system, "cache_control": CACHED}]
    if not continues_unsigned(request.messages, _thinking):
        body.update(_thinking_wish(request.reasoning_tokens, known, limit))
    if request.output_schema is not None and not request.provider_tools:  # sources and schemas exclude each other
        form: JsonObject = {"type": "json_schema", "schema": request.output_schema}
        body["output_config"] = {**object_of(body.get("output_config")), "format": form}
    return {**body, "stream": True}


def _thinking_wish(tokens: int, known: ModelInfo | None, limit: int) -> JsonObject:
    budget = budget_of(tokens, known or UNKNOWN, limit=limit)
    if not budget:
        return {}
    if known is not None and not known.efforts:
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    level = effort_of(tokens, known)
    return {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": level}}


def _vendors(wanted: Mapping[str, JsonObject]) -> Iterator[JsonObject]:
    """The tools that run at the vendor."""
    if SKILLS in wanted:  # they are code that has to run somewhere
        wanted = {**wanted, "codeExecution": wanted.get("codeExecution", {})}
    for name, options in wanted.items():
        if name in VENDORS:
            kind, called = VENDORS[name]
            limits = {OPTIONS[key]: value for key, value in options.items() if key in OPTIONS}
            yield {"type": kind, "name": called, **limits}


def container(request: GenerateRequest, *, now: datetime) -> JsonObject:
    """The vendor's machine that code runs on: the skills on it, and the one of the answer before while it is there."""
    wanted = request.provider_tools
    found: JsonObject = {}
    if SKILLS in wanted:
        found["skills"] = [*map(_skill, _objects(wanted[SKILLS].get("skills")))]
    if SKILLS in wanted or "codeExecution" in wanted:
        said = (part for message in reversed(request.messages) for part in reversed(message.contents))
        machine = next((p.block for p in said if isinstance(p, VendorPart) and p.block.get("type") == CONTAINER), {})
        if _is_there(str(machine.get("expires", "")), now):
            found["id"] = machine["id"]
    return found


def _is_there(expires: str, now: datetime) -> bool:
    try:
        return datetime.fromisoformat(expires) > now + MARGIN
    except (ValueError, TypeError):
        return False


def _skill(skill: JsonObject) -> JsonObject:
    if skill.get("type") == "builtin":
        return {"type": "anthropic", "skill_id": skill.get("skillId"), "version": "latest"}
    definition = msgspec.json.decode(str(skill.get("definition")), type=dict[str, object])
    return {
        "type": "custom",
        "skill_id": str(definition["skill_id"]),
        "version": str(definition.get("version", "latest")),
    }


def _objects(value: JsonValue) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _tool(tool: ToolDefinition) -> JsonObject:
    return {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}


def message_blocks(message: Message) -> Iterator[JsonObject]:
    """The blocks of a message."""
    if isinstance(message, ExpertMessage):
        for part in message.contents:
            yield from _said(part)
    elif isinstance(message, ToolMessage):
        for result in message.contents:
            yield _result(result)
    else:
        for content in message.contents:
            yield from _content(content)


def _said(part: SpokenPart) -> Iterator[JsonObject]:
    if isinstance(part, ToolCallPart):
        yield {"type": "tool_use", "id": part.tool_call_id, "name": part.tool_name, "input": part.args}
    elif isinstance(part, ThinkingPart):
        block = _thinking(part)
        if block is not None:
            yield block
    elif isinstance(part, VendorPart):
        if part.vendor == VENDOR and part.block.get("type") != CONTAINER:
            yield part.block
    else:
        yield from ({**block, **_cited(part)} for block in _content(part))


def _cited(part: TextPart) -> JsonObject:
    """The sources of a text, where the vendor gave some."""
    if part.signature is None or not part.signature.startswith(CITED):
        return {}
    return {"citations": msgspec.json.decode(part.signature.removeprefix(CITED))}


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
        yield {"type": "text", "text": unsendable(part.mime_type)}


def _text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "replace") or "(empty)"
    except (ValueError, binascii.Error):
        return "[A text file stood here; its encoding was broken.]"
