"""Conversations for the embedded model, and the files that stand in for a skill's."""

from __future__ import annotations

import hashlib
import json

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
)
from perstack.protocols import Provider, ToolCallRequest
from perstack.testing.answers import Answer, answer, question
from perstack.tools.provenance import marked

COPY = "Read name.txt and write the same text into copy.txt."


def tool(name: str, description: str = "", required: tuple[str, ...] = (), **properties: JsonValue) -> ToolDefinition:
    schema: JsonObject = {"type": "object", "properties": properties, "required": list(required)}
    return ToolDefinition(name=name, description=description, input_schema=schema)


TEXT: JsonObject = {"type": "string"}
NUMBER: JsonObject = {"type": "integer", "minimum": 0}
# As the base skill describes them; a change of a word there can change what a model this small does.
READ = tool(
    "readTextFile",
    "Read a text file, or lines of it. At most 64 KiB are returned at once; truncated then says where to go on.",
    ("path",),
    path=TEXT,
    **{"from": NUMBER, "to": NUMBER, "offset": {"type": "integer"}},
)
WRITE = tool(
    "writeTextFile",
    "Create a file with this text, or replace all of an existing one. Missing directories are made.",
    ("path", "text"),
    path=TEXT,
    text=TEXT,
    expectedHash={"type": "string", "maxLength": 64},
)
FINISH = tool("attemptCompletion", "Declare the task finished.", result=TEXT)
READ_ON = tool("readToolOutput", "Read on in a tool output that was too long to be shown whole.", ("id",), id=TEXT)
TOOLS = (READ, WRITE, FINISH, READ_ON)


def task(text: str, *, instruction: str = "You copy files.") -> list[Message]:
    return [
        InstructionMessage(id="i", contents=(TextPart(text=instruction),)),
        UserMessage(id="u", contents=(TextPart(text=text),)),
    ]


async def work(
    provider: Provider, text: str, files: dict[str, str], tools: tuple[ToolDefinition, ...] = TOOLS, *, steps: int = 6
) -> list[Answer]:
    """The answers of a run over `files`, which the model's own calls read and write; it ends when it finishes."""
    messages, answers = task(text), []
    for step in range(steps):
        said = await answer(provider, question(*messages, model="smollm2", tools=tools, timeout=60))
        answers.append(said)
        calls = [call for call in said.calls if call.name != FINISH.name]
        if not calls:
            break
        parts = [ToolCallPart(tool_call_id=call.id, tool_name=call.name, args=call.args or {}) for call in calls]
        results = tuple(_result(call, files) for call in calls)
        messages += [ExpertMessage(id=f"e{step}", contents=tuple(parts)), ToolMessage(id=f"t{step}", contents=results)]
    return answers


def _result(call: ToolCallRequest, files: dict[str, str]) -> ToolResultPart:
    args = call.args or {}
    path, result, missing = str(args.get("path")), dict(args), False
    if call.name == WRITE.name:
        files[path] = str(args["text"])
    else:
        missing = path not in files
        lines = files.get(path, "").count("\n") + 1
        result = {"error": "NotFound"} if missing else {"path": path, "content": files[path], "from": 0, "to": lines}
    if not missing:
        result["hash"] = hashlib.sha256(files[path].encode()).hexdigest()[:16]
    text = TextPart(text=marked(json.dumps(result), "@perstack/base"))
    return ToolResultPart(tool_call_id=call.id, tool_name=call.name, contents=(text,), is_error=missing)
