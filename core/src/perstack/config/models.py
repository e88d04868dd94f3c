"""The shape of ``perstack.toml`` and of the user's settings: strict, frozen, every key known.

Attributes are in snake case, keys of files in camel case. What a file may not say, no value of these types can hold;
who may say it (`perstack.config.layers`) and what follows from it (`perstack.policy`) are decided elsewhere.
"""

from __future__ import annotations

import json
from typing import Annotated, ClassVar, Literal, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from perstack.config import grammar, headers
from perstack.config.environment import ENV_FILES
from perstack.skill_policy import Control, MountMode, SkillKind
from perstack.specs import Decision

BASE_SKILL = "@perstack/base"
"""The skill that every Expert has, by its exact name."""

STEPS = 100
RETRIES = 5
TIMEOUT_MS = 300_000
"""Milliseconds for one answer of the model. This and the two above are the original's figures."""

RUNTIME = "docker"
"""What a run wants when nobody names a runtime; nothing stands in for it when it is missing."""

CALL_TIMEOUT_MS = 24 * 60 * 60 * 1000
"""The longest time that a skill may take for one call: a day."""

EXPERT_VERSION = "1.0.0"
DESCRIPTION_CHARACTERS = 2048
INSTRUCTION_CHARACTERS = 20480

ReasoningLevel = Literal["none", "minimal", "low", "medium", "high"]
EffortLevel = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
REASONING_LEVELS: tuple[ReasoningLevel, ...] = get_args(ReasoningLevel)


def _domain(text: str, info: ValidationInfo) -> str:
    return grammar.domain(text, punycode=bool(info.data.get("allow_punycode")))


Line: TypeAlias = Annotated[str, AfterValidator(grammar.line)]
Prose: TypeAlias = Annotated[str, AfterValidator(grammar.prose)]
Word: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(grammar.line)]
Name: TypeAlias = Annotated[str, AfterValidator(grammar.name)]
EnvName: TypeAlias = Annotated[str, AfterValidator(grammar.env_name)]
EnvSource: TypeAlias = Annotated[str, AfterValidator(grammar.env_source)]
Size: TypeAlias = Annotated[str, AfterValidator(grammar.size)]
Domain: TypeAlias = Annotated[str, AfterValidator(_domain)]
Names: TypeAlias = Annotated[tuple[Name, ...], Field(strict=False)]
Controls: TypeAlias = Annotated[tuple[Control, ...], Field(strict=False)]


class Table(BaseModel):
    """A table of a configuration file: unknown keys and other types than the named ones are errors."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", alias_generator=to_camel, defer_build=True)


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
    headers: dict[Word, Line] = {}

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


class ExpertConfig(Table):
    """An Expert as it is declared."""

    _key: str = PrivateAttr(default="")

    version: Annotated[str, AfterValidator(grammar.version)] = EXPERT_VERSION
    min_runtime_version: Line | None = None
    description: Annotated[Prose, Field(max_length=DESCRIPTION_CHARACTERS)] = ""
    instruction: Annotated[Prose, Field(min_length=1, max_length=INSTRUCTION_CHARACTERS)]
    skills: dict[Name, Annotated[SkillConfig, Field(discriminator="type")]] = {}
    delegates: Annotated[tuple[Annotated[str, AfterValidator(grammar.expert_key)], ...], Field(strict=False)] = ()
    tags: Annotated[tuple[Annotated[str, AfterValidator(grammar.tag)], ...], Field(strict=False)] = ()
    provider_tools: Names = ()
    provider_skills: Annotated[tuple[ProviderSkill, ...], Field(strict=False)] = ()
    provider_tool_options: dict[str, JsonValue] = {}
    result_schema: dict[str, JsonValue] | None = None

    @field_validator("result_schema")
    @classmethod
    def _of_an_object(cls, value: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        if value is not None and value.get("type") != "object":
            raise ValueError('is not the JSON Schema of an object: begin with type = "object"')
        if value is not None and len(json.dumps(value)) > INSTRUCTION_CHARACTERS:
            raise ValueError(f"has more than {INSTRUCTION_CHARACTERS} characters as JSON")
        return value

    @field_validator("skills", mode="before")
    @classmethod
    def _bundled(cls, value: object) -> object:
        base = value.get(BASE_SKILL) if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(base, dict) or base.keys() & {"command", "endpoint", "tools"}:
            return value
        return {**value, BASE_SKILL: {"type": StdioSkill.kind, **base, "command": "npx", "packageName": BASE_SKILL}}

    @field_validator("skills")
    @classmethod
    def _only_of_the_base_skill(cls, value: dict[str, SkillConfig]) -> dict[str, SkillConfig]:
        for name, skill in value.items():
            if name != BASE_SKILL and {"files", "bounds"} & skill.model_fields_set:
                raise ValueError(f"the skill {name!r} has files or bounds, which only {BASE_SKILL!r} obeys")
        return value

    @property
    def key(self) -> str:
        """The name of its table."""
        return self._key

    @property
    def name(self) -> str:
        """The key without its version or tag."""
        return grammar.parse_expert_key(self.key).name


class ProviderTable(Table):
    """The model provider; the keys of its `setting` are the provider's own."""

    provider_name: Name
    setting: dict[Word, JsonValue] = {}

    @field_validator("setting")
    @classmethod
    def _safe_setting(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        base_url, headers = value.get("baseUrl"), value.get("headers", {})
        if base_url is not None:
            if not isinstance(base_url, str):
                raise ValueError("baseUrl is not a string")
            try:
                grammar.model_url(base_url)
            except ValueError as error:
                raise ValueError(f"baseUrl {error}") from None
        if not isinstance(headers, dict):
            raise ValueError("headers is not a table")
        for name, text in headers.items():
            if not grammar.HEADER_NAME.fullmatch(name) or not isinstance(text, str):
                raise ValueError(f"the header {name!r} is not a header's name with a string")
            if not text.isascii() or not text.isprintable():
                raise ValueError(f"the header {name!r} has a character that headers may not have")
        return value


class RatesTable(Table):
    """US dollars for a million tokens; absent prices of cached input are that of the other input."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached_input: Annotated[float, Field(ge=0)] | None = None
    cache_write: Annotated[float, Field(ge=0)] | None = None


class LongPricesTable(RatesTable):
    """Those of requests with more input tokens than `over`."""

    over: Annotated[int, Field(ge=1)]


class PricesTable(RatesTable):
    """Those of a model."""

    long: LongPricesTable | None = None


class ModelCapabilities(Table):
    """What is true of one model, in the place of what its provider knows; see `perstack.specs.ModelInfo`."""

    context_window: Annotated[int, Field(ge=1)] | None = None
    max_output: Annotated[int, Field(ge=1)] | None = None
    reasoning: bool = False
    efforts: Annotated[tuple[EffortLevel, ...], Field(strict=False)] = ()
    least_reasoning: Annotated[int, Field(ge=0)] = 0
    most_reasoning: Annotated[int, Field(ge=1)] | None = None
    vision: bool | None = None
    documents: bool | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    prices: PricesTable | None = None


class PluginsTable(Table, extra="allow"):
    """Which plugins take part, and the settings table of each, by its name."""

    __pydantic_extra__: dict[str, dict[str, JsonValue]] = Field(init=False)

    allow: Names | None = None
    block: Names = ()
    require: Names = ()

    @property
    def settings(self) -> dict[str, dict[str, JsonValue]]:
        """The ``[plugins.NAME]`` tables."""
        return self.__pydantic_extra__


class ApprovalRule(Table):
    """What is to happen with tool calls that fit: patterns have ``*`` and ``?``, and absent ones fit everything."""

    decision: Decision
    skill: Line = "*"
    tool: Line = "*"
    args: dict[Word, Line] = {}
    reason: Prose = ""


class PolicyTable(Table):
    """What a run requires, and what a user lets pass. All but the first two belong to the user's own settings.

    Attributes:
        require: Controls that every skill needs beyond those that its runtime is asked for anyway.
        workspace_mode: The most that any skill may do with the workspace; the narrowest of all layers holds.
        relax: Controls that a run may go without.
        allow_provider_tools: Whether Experts get their vendor's tools also where the network is guarded.
        allow_provider_keys: Variables of model providers that skills may ask for all the same.
        accept: Findings of ``perstack check --review`` that the user has looked at.
        limits: The most that a skill may ask for.
        engine_egress: Whether perstack's own connections go through a gate on this machine (``proxy``).
    """

    require: Controls = ()
    workspace_mode: MountMode | None = None
    relax: Controls = ()
    allow_provider_tools: bool = False
    allow_provider_keys: Annotated[tuple[EnvSource, ...], Field(strict=False)] = ()
    accept: Names = ()
    engine_egress: Literal["direct", "proxy"] = "direct"
    limits: LimitsTable = Field(default_factory=LimitsTable)


class EgressTable(Table):
    """How this machine's network leads out; see `perstack.specs.EgressSettings`."""

    network: Annotated[str, AfterValidator(grammar.egress_network)] = ""
    name_servers: Annotated[tuple[Annotated[str, AfterValidator(grammar.ip_address)], ...], Field(strict=False)] = ()
    parent_proxy: Annotated[str, AfterValidator(grammar.parent_proxy)] | None = Field(default=None, repr=False)


class Project(Table):
    """A whole configuration: the project's file between the layers below and above it."""

    provider: ProviderTable | None = None
    model: Word | Annotated[tuple[Word, ...], Field(strict=False, min_length=1, max_length=8)] | None = None
    models: dict[Word, ModelCapabilities] = {}
    reasoning_budget: ReasoningLevel | Annotated[int, Field(ge=0)] = "low"
    runtime: Name | None = None
    max_steps: Annotated[int, Field(ge=1)] = STEPS
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_cost: Annotated[float, Field(gt=0)] | None = None
    max_duration: Annotated[int, Field(ge=1)] | None = None
    max_retries: Annotated[int, Field(ge=0)] = RETRIES
    timeout: Annotated[int, Field(ge=1)] = TIMEOUT_MS
    experts: dict[Annotated[str, AfterValidator(grammar.expert_key)], ExpertConfig] = {}
    approvals: Annotated[tuple[ApprovalRule, ...], Field(strict=False)] = ()
    env_path: Annotated[tuple[Word, ...], Field(strict=False)] = ENV_FILES
    perstack_api_base_url: Annotated[str, AfterValidator(grammar.https_url)] | None = None
    perstack_base_skill_command: Annotated[tuple[Word, ...], Field(strict=False, min_length=1)] | None = None
    plugins: PluginsTable = Field(default_factory=PluginsTable)
    policy: PolicyTable = Field(default_factory=PolicyTable)
    egress: EgressTable = Field(default_factory=EgressTable)

    @field_validator("experts")
    @classmethod
    def _named(cls, value: dict[str, ExpertConfig]) -> dict[str, ExpertConfig]:
        for key, expert in value.items():
            expert._key = key  # noqa: SLF001 - the table does not hold its own name
        return value
