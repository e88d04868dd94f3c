"""A conversation as plain chat turns, in the words that a very small model can follow.

Calls and results are turned into text here, and the chat format itself (who speaks, where a turn ends) is the one that
the weight file brings, so any chat model works.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from perstack.messages import (
    ExpertMessage,
    InstructionMessage,
    JsonObject,
    JsonValue,
    Message,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolMessage,
    ToolResultPart,
    UserMessage,
    spoken_text,
    text_of,
)
from perstack.tools.provenance import TAG

from perstack_provider_embedded.examples import examples_for
from perstack_provider_embedded.grammar import FINISH

MAX_DESCRIPTION = 120
"""Characters of the first sentence of a tool's description; one thread reads about 500 characters a second."""
MAX_RESULT = 8_000
"""Characters of one tool result, a quarter of the default context."""

_MARKED = re.compile(rf'<{TAG} name="[^"]*">\n(.*)\n</{TAG}>', re.DOTALL)
_CONTROL = re.compile(r"<(?=[|\uff5c]|/?s>|/?(?:start|end)_of_turn>|/?(?:bos|eos)>)|\[(?=/?INST\])")
"""The beginnings of what chat formats take for the end of a turn or a change of speaker."""


def chat_turns(messages: Sequence[Message], tools: Sequence[ToolDefinition], *, marks: bool = True) -> list[JsonValue]:
    """The system prompt with the tools, the worked examples that fit them, and the conversation.

    Neighbours with one role become one turn, as chat formats demand. Text from outside cannot end its turn or start
    another: the marks of chat formats are broken up.

    Args:
        messages: The conversation; instructions first.
        tools: What the model may call.
        marks: Keep the marks around what servers of skills wrote. A tiny model cannot weigh them, and stumbles.
    """
    system = "\n\n".join(text_of(message.contents) for message in messages if isinstance(message, InstructionMessage))
    turns = [("system", _with_tools(system, tools)), *examples_for(tools)]
    said = [message for message in messages if not isinstance(message, InstructionMessage)]
    turns += [(_role(message), _text(message, marks=marks)) for message in said]
    merged: list[tuple[str, str]] = []
    for role, text in turns:
        if merged and merged[-1][0] == role:
            merged[-1] = (role, f"{merged[-1][1]}\n{text}")
        elif text:
            merged.append((role, text))
    return [{"role": role, "content": _CONTROL.sub(r"\g<0> ", text)} for role, text in merged]


def _with_tools(system: str, tools: Sequence[ToolDefinition]) -> str:
    offered = [tool for tool in tools if tool.name != FINISH]
    if not tools:
        return system
    lines = [
        "Tools:",
        *(_signature(tool) for tool in offered),
        f'Call a tool: {{"TOOL": {{ARGUMENTS}}}}. When the task is done: {{"{FINISH}": "TEXT"}}.',
    ]
    return "\n".join([system, "", *lines] if system else lines)


def _signature(tool: ToolDefinition) -> str:
    """``name(argument, optional?): what it does``, a tenth of the tokens of the schema, which the grammar holds."""
    properties = tool.input_schema.get("properties")
    required = tool.input_schema.get("required")
    needed = required if isinstance(required, list) else []
    names = [name if name in needed else f"{name}?" for name in properties] if isinstance(properties, dict) else []
    described = " ".join(tool.description.split()).partition(". ")[0]
    if len(described) > MAX_DESCRIPTION:
        described = described[:MAX_DESCRIPTION].rsplit(" ", 1)[0] + " …"
    return f"- {tool.name}({', '.join(names)}): {described}"


def _role(message: Message) -> str:
    return "assistant" if isinstance(message, ExpertMessage) else "user"


def _text(message: Message, *, marks: bool) -> str:
    match message:
        case ExpertMessage():
            return _spoken(message)
        case ToolMessage():
            return "\n".join(_result(part, marks=marks) for part in message.contents)
        case UserMessage():
            return _readable(message.contents)
        case _:
            return text_of(message.contents)


def _spoken(message: ExpertMessage) -> str:
    """What the model would have written to say this, so that its own past looks like its next turn."""
    calls = [part for part in message.contents if isinstance(part, ToolCallPart) and part.tool_name != FINISH]
    if calls:
        return "\n".join(written({call.tool_name: call.args}) for call in calls)
    return written({FINISH: spoken_text(message.contents)})


def written(value: JsonObject) -> str:
    """JSON as the grammar makes the model write it."""
    return json.dumps(value, ensure_ascii=False)


def _result(part: ToolResultPart, *, marks: bool) -> str:
    text = _readable(part.contents)
    if not marks and (inside := _MARKED.fullmatch(text)):
        text = inside[1]
    if len(text) > MAX_RESULT:
        text = f"{text[:MAX_RESULT]} … [{len(text) - MAX_RESULT} more characters]"
    return f"{part.tool_name} {'failed' if part.is_error else 'returned'}: {text}"


def _readable(parts: Sequence[object]) -> str:
    return "\n".join(part.text if isinstance(part, TextPart) else "[not text, left out]" for part in parts)
