"""All tools of one Expert under the names that its model uses, and the way back from a name to a tool.

Names are the servers' own where a vendor takes them. Two tools never share one: a clash is an error that names both,
so that a skill cannot stand in for another.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import msgspec
from perstack_proxy.sanitise import sanitise_line

from perstack.errors import ConfigError, Problem
from perstack.messages import ToolDefinition
from perstack.protocols import SkillTool
from perstack.tools.names import exposed_name, look_alike, visible, visible_schema
from perstack.tools.outputs import SKILL as OUTPUTS_SKILL
from perstack.tools.provenance import marked

if TYPE_CHECKING:
    from perstack.config.models import ExpertConfig
    from perstack.config.skills import SkillConfig
    from perstack.messages import JsonObject

ToolKind = Literal["mcp", "delegate", "interactive"]

OURS = frozenset({"@perstack/base", OUTPUTS_SKILL})
"""Skills whose tools perstack itself describes."""

DELEGATE_PREFIX = "delegate/"
"""Before an Expert's key, where a tool's skill is named."""
DELEGATE_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"query": {"type": "string", "description": "All that the Expert needs to know; it sees only this."}},
    "required": ["query"],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """One tool of an Expert.

    Attributes:
        kind: Who serves it: an MCP server, another Expert, or the person.
        skill: The skill's name; for a delegate ``delegate/`` and the Expert's key.
        definition: What the model is told: sanitised name, description and schema.
        source: What the server, or the configuration, said.
    """

    kind: ToolKind
    skill: str
    definition: ToolDefinition
    source: SkillTool

    @property
    def name(self) -> str:
        """The name that the model uses."""
        return self.definition.name

    @property
    def original(self) -> str:
        """The server's own name for it."""
        return self.source.name


class Toolbox:
    """The tools of one run. They do not change while it lasts, whatever their servers say later."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools = {tool.name: tool for tool in _distinct(tools)}
        self.definitions = tuple(tool.definition for tool in self._tools.values())

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def find(self, name: str) -> Tool | None:
        """The tool that the model means by `name`, or None."""
        return self._tools.get(name)

    def similar(self, name: str) -> tuple[str, ...]:
        """Names of tools that `name` may have meant, best first."""
        return tuple(difflib.get_close_matches(name, self._tools, n=3))


def toolbox(
    expert: ExpertConfig,
    listed: Mapping[str, Sequence[SkillTool]],
    *,
    experts: Mapping[str, ExpertConfig],
    interactive: bool,
    redact: Callable[[bytes], bytes] = lambda data: data,
) -> Toolbox:
    """The tools of `expert`: those of its MCP skills, of its delegates, and of the person.

    Args:
        expert: Whose `pick` and `omit` hold, and whose delegates are tools.
        listed: What each connected skill offers, by skill name.
        experts: Every Expert of the project by key, for the descriptions of delegates.
        interactive: Whether a person can be asked; a delegate's run cannot.
        redact: Takes secrets out of JSON; a server knows some, and what it says of its tools goes to the model.

    Raises:
        ConfigError: `pick` or `omit` name a tool that is not there, or two tools have one name.
    """
    tools: list[Tool] = []
    problems: list[Problem] = []
    for skill, offered in listed.items():
        config = expert.skills.get(skill)
        problems += _unknown_names(skill, config, offered)
        tools += (_redacted(_tool("mcp", skill, tool), redact) for tool in offered if _wanted(config, tool.name))
    for name, config in expert.skills.items():
        if config.type == "interactiveSkill" and interactive:
            for key, entry in config.tools.items():
                schema = json.loads(entry.input_json_schema)
                source = SkillTool(name=key, description=entry.description, input_schema=schema)
                tools.append(_tool("interactive", name, source))
    for key in expert.delegates:
        source = SkillTool(name=_last_segment(key), description=experts[key].description, input_schema=DELEGATE_SCHEMA)
        tools.append(_tool("delegate", DELEGATE_PREFIX + key, source))
    if problems:
        raise ConfigError(problems)
    return Toolbox(tools)


def _tool(kind: ToolKind, skill: str, source: SkillTool) -> Tool:
    description = visible(source.description)
    if kind == "mcp" and skill not in OURS and description:
        description = marked(description, skill)
    definition = ToolDefinition(
        name=exposed_name(source.name),
        description=description,
        input_schema={"type": "object", "properties": {}, **visible_schema(source.input_schema)},
    )
    return Tool(kind=kind, skill=skill, definition=definition, source=source)


def _redacted(tool: Tool, redact: Callable[[bytes], bytes]) -> Tool:
    """The tool as a model may be told of it; its `source` stays what the server said, which its calls are held to."""
    said = msgspec.json.encode((tool.definition.description, tool.definition.input_schema))
    if (clean := redact(said)) == said:
        return tool
    description, schema = msgspec.json.decode(clean)
    told = msgspec.structs.replace(tool.definition, description=description, input_schema=schema)
    return replace(tool, definition=told)


def _wanted(config: SkillConfig | None, name: str) -> bool:
    """Whether `pick` and `omit` leave the tool in; an empty list restricts nothing."""
    if config is None or config.type == "interactiveSkill":
        return True
    return name not in config.omit and (not config.pick or name in config.pick)


def _unknown_names(skill: str, config: SkillConfig | None, offered: Sequence[SkillTool]) -> Iterator[Problem]:
    if config is None or config.type == "interactiveSkill":
        return
    names = [tool.name for tool in offered]
    for key, wanted in (("pick", config.pick), ("omit", config.omit)):
        for name in wanted:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                yield Problem(
                    key=f'skills."{skill}".{key}',
                    message=f"the skill has no tool {name!r}",
                    hint=f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(names) or 'none'}",
                )


def _distinct(tools: Iterable[Tool]) -> list[Tool]:
    """`tools`, when no two of them could be taken for one another.

    Names that differ in case only count as one, and so do names of two skills that only look the same.
    """
    called: dict[str, Tool] = {}
    looking: dict[str, Tool] = {}
    problems = []
    for tool in tools:
        other = called.setdefault(tool.name.casefold(), tool)
        twin = looking.setdefault(look_alike(tool.original), tool)
        if other is not tool:
            problems.append(_clash(tool, other, f"would both be called {tool.name!r}"))
        elif twin.skill != tool.skill:
            problems.append(_clash(tool, twin, "look the same"))
    if problems:
        raise ConfigError(problems)
    return list(called.values())


def _clash(tool: Tool, other: Tool, how: str) -> Problem:
    return Problem(
        message=sanitise_line(
            f"tool {tool.original!r} of {tool.skill!r} and tool {other.original!r} of {other.skill!r} {how}"
        ),
        hint="leave one out with omit or pick",
    )


def _last_segment(key: str) -> str:
    """The name of a delegate's tool: the last part of the Expert's name, without its version."""
    return key.lstrip("@").split("@", 1)[0].rsplit("/", 1)[-1]
