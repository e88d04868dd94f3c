"""The shape of ``perstack.toml`` and of the user's settings: strict, frozen, every key known.

Attributes are in snake case, keys of files in camel case. What a file may not say, no value of these types can hold;
who may say it (`perstack.config.layers`) and what follows from it (`perstack.policy`) are decided elsewhere.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    PrivateAttr,
    field_validator,
)

from perstack.config import grammar
from perstack.config.environment import ENV_FILES
from perstack.config.skills import BASE_SKILL, LimitsTable, ProviderSkill, SkillConfig, StdioSkill
from perstack.config.tables import (
    DESCRIPTION_CHARACTERS,
    INSTRUCTION_CHARACTERS,
    Controls,
    EnvSource,
    Line,
    Name,
    Names,
    Prose,
    Table,
    Word,
)
from perstack.skill_policy import MountMode
from perstack.specs import Decision

STEPS = 100
RETRIES = 5
TIMEOUT_MS = 300_000
"""Milliseconds for one answer of the model. This and the two above are the original's figures."""

RUNTIME = "docker"
"""What a run wants when nobody names a runtime; nothing stands in for it when it is missing."""

EXPERT_VERSION = "1.0.0"

ReasoningLevel = Literal["none", "minimal", "low", "medium", "high"]
EffortLevel = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
REASONING_LEVELS: tuple[ReasoningLevel, ...] = get_args(ReasoningLevel)


class ExpertConfig(Table):
    """An Expert as it is declared."""

    _key: str = PrivateAttr(default="")

    version: Annotated[str, AfterValidator(grammar.version)] = EXPERT_VERSION
    min_runtime_version: Line | None = None
    description: Annotated[Prose, Field(max_length=DESCRIPTION_CHARACTERS)] = ""
    instruction: Annotated[Prose, Field(min_length=1, max_length=INSTRUCTION_CHARACTERS)]
    skills: dict[Name, Annotated[SkillConfig, Field(discriminator="type")]] = Field(default_factory=dict)
    delegates: Annotated[tuple[Annotated[str, AfterValidator(grammar.expert_key)], ...], Field(strict=False)] = ()
    tags: Annotated[tuple[Annotated[str, AfterValidator(grammar.tag)], ...], Field(strict=False)] = ()
    provider_tools: Names = ()
    provider_skills: Annotated[tuple[ProviderSkill, ...], Field(strict=False)] = ()
    provider_tool_options: dict[str, JsonValue] = Field(default_factory=dict)
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
    setting: dict[Word, JsonValue] = Field(default_factory=dict)

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
    args: dict[Word, Line] = Field(default_factory=dict)
    reason: Prose = ""


class PolicyTable(Table):
    """What a run requires, and what a user lets pass. All but the first two belong to the user's own settings.

    Attributes:
        require: Controls that every skill needs beyond those that its runtime is asked for anyway.
        workspace_mode: The most that any skill may do with the workspace; the narrowest of all layers holds.
        relax: Controls that a run may go without.
        allow_provider_tools: Whether Experts get their vendor's tools also where the network is guarded.
        allow_provider_keys: Variables of model providers that skills may ask for all the same.
        allow_provider_origins: Origins that a project may lead the credentials of its model provider to.
        accept: Findings of ``perstack check --review`` that the user has looked at.
        limits: The most that a skill may ask for.
        engine_egress: Whether perstack's own connections go through a gate on this machine (``proxy``).
    """

    require: Controls = ()
    workspace_mode: MountMode | None = None
    relax: Controls = ()
    allow_provider_tools: bool = False
    allow_provider_keys: Annotated[tuple[EnvSource, ...], Field(strict=False)] = ()
    allow_provider_origins: Annotated[
        tuple[Annotated[str, AfterValidator(grammar.origin)], ...], Field(strict=False)
    ] = ()
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
    models: dict[Word, ModelCapabilities] = Field(default_factory=dict)
    reasoning_budget: ReasoningLevel | Annotated[int, Field(ge=0)] = "low"
    runtime: Name | None = None
    max_steps: Annotated[int, Field(ge=1)] = STEPS
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_cost: Annotated[float, Field(gt=0)] | None = None
    max_duration: Annotated[int, Field(ge=1)] | None = None
    max_retries: Annotated[int, Field(ge=0)] = RETRIES
    timeout: Annotated[int, Field(ge=1)] = TIMEOUT_MS
    experts: dict[Annotated[str, AfterValidator(grammar.expert_key)], ExpertConfig] = Field(default_factory=dict)
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
