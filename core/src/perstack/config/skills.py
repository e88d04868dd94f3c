"""The tables under ``skills`` and ``providerSkills``: what a skill is declared to be."""

from __future__ import annotations

import json
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from perstack.config import grammar, headers
from perstack.config.tables import (
    INSTRUCTION_CHARACTERS,
    Domain,
    EnvName,
    EnvSource,
    Line,
    Name,
    Names,
    Prose,
    Size,
    Table,
    Word,
)
from perstack.skill_policy import MountMode, SkillKind

BASE_SKILL = "@perstack/base"
"""The skill that every Expert has, by its exact name."""

CALL_TIMEOUT_MS = 24 * 60 * 60 * 1000
"""The longest time that a skill may take for one call: a day."""


class RequiredEnv(Table):
    """A variable that a skill asks for: its name inside, and the host's variable that it gets the value of."""

    name: EnvName
    source: EnvSource = Field(default="", alias="from")
    description: Prose = ""

    @property
    def host_name(self) -> str:
        """The variable on the host's side."""
        return self.source or self.name


def _as_table(entry: object) -> object:
    return {"name": entry} if isinstance(entry, str) else entry


class LimitsTable(Table):
    """What a skill may use up; absent lines keep their defaults."""

    memory: Size | None = None
    cpus: Annotated[float, Field(gt=0, le=1024)] | None = None
    pids: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class FilesTable(Table):
    """Files of the workspace that the base skill's tools may use although they keep away from such files otherwise.

    Attributes:
        writable: Globs of control files, such as ``.github/**``, that may be changed.
        readable: Globs of files for secrets that may be read.
    """

    writable: Annotated[tuple[Word, ...], Field(strict=False)] = ()
    readable: Annotated[tuple[Word, ...], Field(strict=False)] = ()


Bound: TypeAlias = Annotated[int, Field(ge=1, le=2**40)]


class BoundsTable(Table):
    """How much the base skill's tools may do and return; absent lines keep the skill's defaults."""

    read_bytes: Bound | None = None
    scan_bytes: Bound | None = None
    edit_bytes: Bound | None = None
    list_entries: Bound | None = None
    tree_entries: Bound | None = None
    tree_depth: Annotated[int, Field(ge=1, le=500)] | None = None
    search_file_bytes: Bound | None = None
    search_results: Bound | None = None
    search_result_bytes: Bound | None = None
    search_ms: Bound | None = None
    file_ms: Bound | None = None
    patch_files: Bound | None = None
    image_pixels: Bound | None = None
    pdf_pages: Bound | None = None
    exec_timeout_ms: Bound | None = None
    exec_max_timeout_ms: Bound | None = None
    exec_stream_bytes: Bound | None = None
    exec_spill_bytes: Bound | None = None


class Skill(Table):
    """What all types of skills have."""

    kind: ClassVar[SkillKind]

    description: Prose = ""
    rule: Annotated[Prose, Field(max_length=INSTRUCTION_CHARACTERS)] = ""


class McpSkill(Skill):
    """A skill that offers its tools over MCP.

    Attributes:
        timeout: Milliseconds for one call of a tool, or None for the default.
        allow_sampling: Whether its server may ask the run's model, at the run's cost.
        allow_elicitation: Whether its server may ask the person at the terminal.
        allow_punycode: Whether `allowed_domains` may hold names with ``xn--``, which can look like another name.
    """

    pick: Names = ()
    omit: Names = ()
    timeout: Annotated[int, Field(ge=1, le=CALL_TIMEOUT_MS)] | None = None
    allow_sampling: bool = False
    allow_elicitation: bool = False
    allow_punycode: bool = False
    allowed_domains: Annotated[tuple[Domain, ...], Field(strict=False)] = ()


class StdioSkill(McpSkill):
    """An MCP server that is started as a process."""

    # The base skill may leave out its command, so an editor must not ask for it.
    model_config = ConfigDict(json_schema_extra={"required": ["type"]})

    kind: ClassVar[SkillKind] = "mcpStdioSkill"

    type: Literal["mcpStdioSkill"]
    command: Word
    package_name: Word | None = None
    args: Annotated[tuple[Prose, ...], Field(strict=False)] = ()
    required_env: Annotated[
        tuple[Annotated[RequiredEnv, BeforeValidator(_as_table, json_schema_input_type=RequiredEnv | str)], ...],
        Field(strict=False),
    ] = ()
    lazy_init: bool = False
    image: Annotated[str, AfterValidator(grammar.image)] | None = None
    workspace_mode: MountMode | None = None
    limits: LimitsTable = Field(default_factory=LimitsTable)
    files: FilesTable = Field(default_factory=FilesTable)
    bounds: BoundsTable = Field(default_factory=BoundsTable)

    @model_validator(mode="after")
    def _one_command(self) -> StdioSkill:
        if self.package_name is not None and self.args:
            raise ValueError("has both packageName and args; put the package into args, or leave args out")
        if self.command in {"npx", "uvx"} and self.package_name is None and not self.args:
            raise ValueError(f"has neither packageName nor args, so {self.command} has nothing to start")
        names = [entry.name for entry in self.required_env]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"asks for {', '.join(twice)} more than once in requiredEnv")
        return self


class RemoteSkill(McpSkill):
    """An MCP server that runs elsewhere, reached over https.

    Attributes:
        headers: Sent with every request, and to this host alone; ``$NAME`` stands for a variable.
    """

    endpoint: Annotated[str, Field(max_length=2048), AfterValidator(grammar.public_url)]
    headers: dict[Word, Line] = Field(default_factory=dict)

    @field_validator("headers")
    @classmethod
    def _may_be_sent(cls, value: dict[str, str]) -> dict[str, str]:
        headers.checked(value)
        return value


class HttpSkill(RemoteSkill):
    """A remote server over Streamable HTTP."""

    kind: ClassVar[SkillKind] = "mcpHttpSkill"

    type: Literal["mcpHttpSkill"]


class SseSkill(RemoteSkill):
    """A remote server over HTTP with server-sent events, the transport that Streamable HTTP replaced."""

    kind: ClassVar[SkillKind] = "mcpSseSkill"

    type: Literal["mcpSseSkill"]


class InteractiveTool(Table):
    """A tool whose result a person gives."""

    description: Prose = ""
    input_json_schema: Annotated[str, Field(max_length=INSTRUCTION_CHARACTERS)]

    @field_validator("input_json_schema")
    @classmethod
    def _schema(cls, value: str) -> str:
        _json_object(value)
        return value


class InteractiveSkill(Skill):
    """Tools that stop the run until a person has answered."""

    kind: ClassVar[SkillKind] = "interactiveSkill"

    type: Literal["interactiveSkill"]
    tools: dict[Name, InteractiveTool]


SkillConfig: TypeAlias = StdioSkill | HttpSkill | SseSkill | InteractiveSkill


class BuiltinProviderSkill(Table):
    """A skill that the model's vendor has: instructions and code that run there."""

    type: Literal["builtin"]
    skill_id: Name


class CustomProviderSkill(Table):
    """A skill that its author keeps at the model's vendor; `definition` is a JSON object with its ``skill_id``."""

    type: Literal["custom"]
    name: Name
    definition: Annotated[str, Field(max_length=INSTRUCTION_CHARACTERS)]

    @field_validator("definition")
    @classmethod
    def _names_a_skill(cls, value: str) -> str:
        if not isinstance(_json_object(value).get("skill_id"), str):
            raise ValueError('names no skill of the vendor: write {"skill_id": "..."}')
        return value


def _json_object(text: str) -> dict[str, JsonValue]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("is not a JSON object: begin with {")
    return found


ProviderSkill: TypeAlias = Annotated[BuiltinProviderSkill | CustomProviderSkill, Field(discriminator="type")]
