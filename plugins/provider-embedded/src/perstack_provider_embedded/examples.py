"""Worked examples: short finished runs, told as real turns.

A model of 135 million parameters learns the shape of a run from them and hardly from prose; without them it finishes
almost nothing. An example is told only when all of its tools are offered, so that it never teaches a tool that is not
there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from perstack.messages import JsonObject, ToolDefinition

from perstack_provider_embedded.grammar import FINISH


class Turn(NamedTuple):
    """One turn of a chat."""

    role: str
    text: str


class Example(NamedTuple):
    """A finished run, and the tools that it calls."""

    tools: frozenset[str]
    turns: tuple[Turn, ...]


def _call(tool: str, args: JsonObject, result: JsonObject) -> tuple[Turn, Turn]:
    return (
        Turn("assistant", json.dumps({tool: args})),
        Turn("user", f"{tool} returned: {json.dumps(result)}"),
    )


def _read(path: str, content: str, digest: str) -> tuple[Turn, Turn]:
    result: JsonObject = {"path": path, "content": content, "from": 0, "to": 1, "hash": digest}
    return _call("readTextFile", {"path": path}, result)


def _write(path: str, text: str, digest: str) -> tuple[Turn, Turn]:
    return _call("writeTextFile", {"path": path, "text": text}, {"path": path, "text": text, "hash": digest})


def _example(task: str, *calls: tuple[Turn, Turn], answer: str) -> Example:
    turns = [Turn("user", task), *(turn for call in calls for turn in call)]
    turns.append(Turn("assistant", json.dumps({FINISH: answer})))
    tools = frozenset(key for turn in turns[1:-1:2] for key in json.loads(turn.text))
    return Example(tools, tuple(turns))


def _copy(source: str, target: str, text: str, digest: str) -> Example:
    task = f"Read {source} and write the same text into {target}."
    return _example(task, _read(source, text, digest), _write(target, text, digest), answer="Done.")


EXAMPLES = (
    _example(
        "Write Moon into sky.txt.", _write("sky.txt", "Moon", "b0c8a4d25e1f7936"), answer="sky.txt now holds: Moon"
    ),
    _copy("title.txt", "duplicate.txt", "Plant 7 roses", "5f21c07d9ab3e864"),
    _copy("city.txt", "clone.txt", "blue-4471", "e3907b1c62fd84a5"),
    _copy("word.txt", "backup.txt", "Grace Hill 12", "77f0a1c43be95d28"),
)
"""Four, because each costs a second at the start of a run. Names and texts differ: what repeats is the shape."""


def examples_for(tools: Sequence[ToolDefinition]) -> list[Turn]:
    """The turns of every example whose tools are all among `tools`."""
    offered = {tool.name for tool in tools}
    return [turn for example in EXAMPLES if example.tools <= offered for turn in example.turns]
