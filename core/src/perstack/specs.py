"""Descriptors that hooks return: frozen, cheap to make, and free of any SDK.

A descriptor says what a plugin offers; its ``factory`` makes the object that does the work and is the only place where
a plugin may import its heavy dependencies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from perstack.errors import Problem

if TYPE_CHECKING:
    import argparse

    from perstack.events import Event
    from perstack.messages import JsonObject, JsonValue, ToolCall, ToolResult
    from perstack.protocols import Access, EventSink, JournalStore, Provider, Runtime, Transport
    from perstack.skill_policy import Control, Origin, SkillPolicy

Notify: TypeAlias = "Callable[[Event], None]"
"""Where an object that a factory made reports its events."""


# --- registrations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class EgressSettings:
    """How this machine's network leads out, in the words of the person who runs perstack.

    Attributes:
        network: The engine's network that the egress container joins; empty is the engine's own choice.
        name_servers: Addresses of the name servers that it asks; empty are the engine's.
        parent_proxy: URL of the proxy that stands between this network and the internet, or empty.
    """

    network: str = ""
    name_servers: tuple[str, ...] = ()
    parent_proxy: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeContext:
    """What a runtime is made with.

    Attributes:
        run_id: Names everything that the runtime starts, so that it can be found and ended.
        job_id: The job that the events of this runtime belong to.
        state_dir: Directory, mode 0700, in which the runtime may keep files.
        notify: Where it reports progress.
        policies: Every skill that it may be asked to start; no other gets a way out.
        egress: How this machine's network leads out.
    """

    run_id: str
    job_id: str
    state_dir: Path
    notify: Notify
    policies: tuple[SkillPolicy, ...] = ()
    egress: EgressSettings = EgressSettings()


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeSpec:
    """A way to run skills: ``--runtime NAME``.

    Attributes:
        claims: Controls that it enforces where the host allows it; `Sandbox.enforced` says what holds in fact.
        aliases: Older names for it.
        packages_at: Where its sandboxes see a host directory of locked packages; None where they take none.
    """

    name: str
    summary: str
    factory: Callable[[RuntimeContext], Runtime]
    claims: frozenset[Control]
    aliases: tuple[str, ...] = ()
    packages_at: Callable[[Path], str] | None = None


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much a model reasons, least first, where it takes no number of tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """US dollars for a million tokens; a price that is None is that of the other input."""

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    long: LongPrices | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LongPrices(Prices):
    """The prices of a request whose whole input has more than `over` tokens; they hold for all of its tokens."""

    over: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """What is known of a model; unknown models work with cautious defaults. None is not known.

    Attributes:
        context_window: Tokens that fit in one request with its answer.
        max_output: Tokens of one answer.
        reasoning: Whether it takes a reasoning budget.
        efforts: The levels that it takes; empty where it takes a number of tokens.
        least_reasoning: The smallest number of tokens that it takes, where it takes one.
        most_reasoning: The largest.
        vision: Whether it takes images.
        documents: Whether it takes PDFs.
        tools: Whether it takes tools.
        structured_output: Whether its vendor holds its answers to a JSON Schema, also beside tools.
    """

    context_window: int | None = None
    max_output: int | None = None
    reasoning: bool = False
    efforts: tuple[Effort, ...] = ()
    least_reasoning: int = 0
    most_reasoning: int | None = None
    vision: bool | None = None
    documents: bool | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    prices: Prices | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """The way to other hosts.

    Attributes:
        url: The proxy, which may hold a user and a password.
        bypass: Hosts that are reached without it, as entries of ``NO_PROXY``.
        variable: Who named it, for messages: its URL may hold a password.
    """

    url: str = field(repr=False)
    bypass: tuple[str, ...] = ()
    variable: str = "HTTPS_PROXY"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Its password, where it has one."""
        from urllib.parse import unquote, urlsplit

        try:
            password = urlsplit(self.url).password
        except ValueError:  # no URL, so none of its parts is a password
            return (self.url,)
        return (password, unquote(password)) if password else ()


def _unrecorded(_access: Access) -> None:
    """Nobody records the connections of something that no run made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostGrant:
    """A place that perstack itself may connect to; as a text, the host, or its origin where it is not https on 443.

    Attributes:
        host: Name in lower case, address, or `*.` and a name for every name below it.
        tls: Whether it is https.
        private: Whether it may be at an address that is not public, because the configuration names it.
        origin: Where it was named.
    """

    host: str
    port: int = 443
    tls: bool = True
    private: bool = False
    origin: str = ""

    @property
    def gated(self) -> bool:
        """Whether a gate can lead there: https on port 443 at public addresses."""
        return self.tls and self.port == 443 and not self.private

    def __str__(self) -> str:
        if self.tls and self.port == 443:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """How perstack gets from here to servers.

    Attributes:
        grants: Where it may connect to; None, which no run has, is anywhere.
        proxy: The proxy that leads to other hosts, or None.
        gate: The unix socket of the gate that leads to public hosts, or None.
        access: Told of each connection that is made or refused, before anything is sent over it.
    """

    grants: tuple[HostGrant, ...] | None = None
    proxy: Proxy | None = None
    gate: str | None = None
    access: Callable[[Access], None] = _unrecorded


ANYWHERE = Network()
"""The way of a client that no run made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderContext:
    """What a provider is made with; settings and variables of other providers are never in it.

    Attributes:
        settings: The ``[provider.setting]`` table, empty unless it belongs to this provider.
        env: Values of the variables that the spec names, where they are set.
        cache_dir: Directory for things that can be fetched again, such as weights.
        network: The way to the provider's servers, which its HTTP clients have to take.
    """

    settings: Mapping[str, JsonValue]
    env: Mapping[str, str]
    cache_dir: Path
    network: Network = ANYWHERE


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderSpec:
    """A model provider: ``--provider NAME``.

    Attributes:
        required_env: Variables without which it cannot work; their values are secrets.
        optional_env: Further variables that it reads, such as its base URL.
        secret_env: Those of both whose values are secrets.
        setting_keys: Keys that its ``[provider.setting]`` table may have.
        api_hosts: Hosts of the vendor, regional and sovereign forms included: names, `*.` patterns, or origins such as
            ``http://localhost:11434`` where they are not https on port 443.
        hosts: The very ones that its traffic goes to with these settings; None where they are all of `api_hosts`.
            `perstack.outbound.grants.origin_of` makes one of a base URL. Nothing else is connected to.
        region_keys: Settings and variables that only choose among the vendor's own hosts, such as a region. Any other
            value that changes `hosts` is taken to lead elsewhere: see `perstack.policy.destinations`.
        credentials: What it signs in with under these settings: names of variables, or a login that it finds by itself,
            in words for a message. None is each variable of `required_env` and `secret_env` that is set.
        models: What is known of its models, by name.
        provider_tools: Names of the tools that run at the vendor.
        default_model: Used when neither the configuration nor the command line names one.
    """

    name: str
    summary: str
    factory: Callable[[ProviderContext], Provider]
    required_env: tuple[str, ...] = ()
    optional_env: tuple[str, ...] = ()
    secret_env: tuple[str, ...] = ()
    setting_keys: frozenset[str] = frozenset()
    api_hosts: tuple[str, ...] = ()
    hosts: Callable[[ProviderContext], tuple[str, ...]] | None = None
    region_keys: frozenset[str] = frozenset()
    credentials: Callable[[ProviderContext], tuple[str, ...]] | None = None
    models: Mapping[str, ModelInfo] = field(default_factory=dict)
    default_model: str | None = None
    provider_tools: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class TransportSpec:
    """A way to talk to skills of one ``type``."""

    type: str
    summary: str
    factory: Callable[[], Transport]


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageSpec:
    """A place for journals, chosen by the scheme of ``--state-dir``; a plain path is ``file``."""

    scheme: str
    summary: str
    factory: Callable[[str], JournalStore]


@dataclass(frozen=True, kw_only=True, slots=True)
class EventSinkSpec:
    """A receiver of every event, redacted, through a bounded queue; it can never hold up or break a run."""

    name: str
    summary: str
    factory: Callable[[], EventSink]


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandSpec:
    """A subcommand: ``perstack NAME``. `run` returns the exit code."""

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingsSpec:
    """The ``[plugins.NAME]`` table of a plugin; `parse` returns its settings or raises ValueError with the reason."""

    name: str
    summary: str
    parse: Callable[[Mapping[str, JsonValue]], object]


NextCall: TypeAlias = "Callable[[ToolCall], Awaitable[ToolResult]]"
"""The rest of the way to a tool."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MiddlewareSpec:
    """A layer around every tool call that was allowed; lower stages are further out."""

    name: str
    call: Callable[[ToolCall, NextCall], Awaitable[ToolResult]]
    stage: int = 0


# --- rules and answers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvTarget:
    """The skill whose environment is being decided, with the names it asks for. Values are never shown."""

    expert: str
    skill: str
    requested: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvRule:
    """A say in which variables a skill gets: ``name`` is a name or a glob; deny beats allow.

    An allow of a plugin never adds a variable that the skill did not ask for.
    """

    action: Literal["allow", "deny"]
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EgressTarget:
    """The skill whose outbound access is being decided, with the patterns it asks for."""

    expert: str
    skill: str
    requested: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EgressRule:
    """A say in which domains a skill may reach; deny beats allow, and a plugin's allow never adds one."""

    action: Literal["allow", "deny"]
    pattern: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolView:
    """The tool that a call goes to: the skill's own, untrusted words."""

    expert: str
    skill: str
    name: str
    description: str
    input_schema: JsonObject


Decision = Literal["allow", "ask", "deny"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolVerdict:
    """A say in whether a call goes ahead: deny beats ask beats allow."""

    decision: Decision
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigContext:
    """Where a configuration is read from."""

    path: Path
    directory: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigLayer:
    """Values that lie above or below the project's file; `rank` orders layers, higher wins.

    Ranks in use: 0 defaults, 10 site, 20 user, 30 project, 40 env files, 50 process environment, 60 command line.
    """

    rank: int
    origin: Origin
    values: Mapping[str, JsonValue]


ConfigProblem: TypeAlias = Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthReport:
    """What a doctor check found; `fix` is the command or the change that helps."""

    ok: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorCheck:
    """One question about this host that ``perstack doctor`` asks."""

    name: str
    summary: str
    run: Callable[[], Awaitable[HealthReport]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorHint:
    """A next step for an error that a plugin recognises."""

    text: str
