"""Every hook that a plugin can implement.

Hooks are synchronous and cheap: they import no SDK, do no I/O, and return descriptors (`perstack.specs`). Everything
that awaits lives in the objects that a descriptor's ``factory`` makes. Each implementation is called alone, ordered
by plugin name, and takes only those arguments that it wants. They are functions of the plugin's module, or methods of
its class `Plugin`, of which each load makes one.

Policy hooks (`perstack_env_rules`, `perstack_egress_rules`, `perstack_review_tool_call`) return rules as data which
core reduces: deny beats allow, and an implementation that raises denies. They see names, never values.

    from perstack.hookspecs import hookimpl
"""

# mypy: disable-error-code="empty-body"
# A specification has a signature and a docstring; pluggy never calls it.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from perstack.messages import JsonValue, ToolCall
    from perstack.specs import (
        CommandSpec,
        ConfigContext,
        ConfigLayer,
        ConfigProblem,
        DoctorCheck,
        EgressRule,
        EgressTarget,
        EnvRule,
        EnvTarget,
        ErrorHint,
        EventSinkSpec,
        MiddlewareSpec,
        ProviderSpec,
        RuntimeSpec,
        SettingsSpec,
        StorageSpec,
        ToolVerdict,
        ToolView,
        TransportSpec,
    )

PROJECT = "perstack"
"""The name of the entry-point group and of pluggy's project."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# --- life ------------------------------------------------------------------------------------------------------------


@hookspec
def perstack_configure(settings: Mapping[str, object]) -> None:
    """The configuration is final. `settings` holds what each plugin's own `SettingsSpec.parse` returned, by name.

    Called once, after the registrations and before any factory and any policy hook. If it raises, the plugin has
    failed and takes no part in the run; a required plugin, or one that implements a policy hook, stops the run.

    Example:
        @hookimpl
        def perstack_configure(self, settings):
            self.rules = settings.get("acme-guard", DEFAULT_RULES)
    """


@hookspec
def perstack_register_commands() -> Iterable[CommandSpec]:
    """Offer subcommands of ``perstack``. Core's names are reserved; two plugins with one name are a conflict.

    Called only when a command is asked for that core does not know.

    Example:
        @hookimpl
        def perstack_register_commands():
            return [CommandSpec(name="acme", summary="Show the state of Acme.", configure=add_options, run=run)]
    """


# --- configuration ---------------------------------------------------------------------------------------------------


@hookspec(firstresult=True)
def perstack_parse_config(context: ConfigContext, data: bytes) -> Mapping[str, JsonValue] | None:
    """Read a configuration file of a format of your own, or return None to leave it to others.

    Core's TOML reader comes last. If an implementation raises, that is a configuration error with the plugin's name.

    Example:
        @hookimpl
        def perstack_parse_config(context, data):
            return json.loads(data) if context.path.suffix == ".json" else None
    """


@hookspec
def perstack_config_layers(context: ConfigContext) -> Iterable[ConfigLayer]:
    """Add values below or above the project's file. The highest rank wins, and each value keeps its origin.

    Example:
        @hookimpl
        def perstack_config_layers(context):
            return [ConfigLayer(rank=10, origin=Origin(source="/etc/acme.toml"), values={"maxSteps": 20})]
    """


@hookspec
def perstack_register_settings() -> Iterable[SettingsSpec]:
    """Describe the ``[plugins.NAME]`` tables that you read. A table that nobody describes is an error.

    Example:
        @hookimpl
        def perstack_register_settings():
            return [SettingsSpec(name="acme-guard", summary="What the guard denies.", parse=GuardSettings.parse)]
    """


@hookspec
def perstack_check_config(config: Mapping[str, JsonValue]) -> Iterable[ConfigProblem]:
    """Find problems in a configuration that has the right shape. All problems of all plugins are shown together.

    Example:
        @hookimpl
        def perstack_check_config(config):
            if config.get("maxSteps", 0) > 500:
                yield Problem(key="maxSteps", message="Acme allows 500 steps.", hint="Lower it.")
    """


# --- policy ----------------------------------------------------------------------------------------------------------


@hookspec
def perstack_env_rules(target: EnvTarget) -> Iterable[EnvRule]:
    """Have a say in which variables a skill gets. Deny beats allow; an exception refuses the start.

    Example:
        @hookimpl
        def perstack_env_rules(target):
            return [EnvRule(action="deny", name="PROD_*", reason="Production secrets stay with the deploy job.")]
    """


@hookspec
def perstack_egress_rules(target: EgressTarget) -> Iterable[EgressRule]:
    """Have a say in which domains a skill may reach. Deny beats allow; an exception refuses the start.

    Example:
        @hookimpl
        def perstack_egress_rules(target):
            return [EgressRule(action="deny", pattern="*.example.net", reason="Not in this company.")]
    """


@hookspec
def perstack_review_tool_call(call: ToolCall, tool: ToolView) -> ToolVerdict | None:
    """Allow, ask for or deny one tool call; None has no opinion. Deny beats ask beats allow; an exception denies.

    Called for every call of every Expert, before it is dispatched.

    Example:
        @hookimpl
        def perstack_review_tool_call(call, tool):
            if tool.name == "deleteDirectory":
                return ToolVerdict(decision="ask", reason="It deletes a whole directory.")
    """


# --- registrations ---------------------------------------------------------------------------------------------------


@hookspec
def perstack_register_tool_middleware() -> Iterable[MiddlewareSpec]:
    """Wrap tool calls that were allowed, for instance to count or to cache them.

    Example:
        @hookimpl
        def perstack_register_tool_middleware():
            return [MiddlewareSpec(name="acme-count", call=count_and_pass_on)]
    """


@hookspec
def perstack_register_runtimes() -> Iterable[RuntimeSpec]:
    """Offer ways to run skills: ``--runtime NAME``. Two plugins with one name are a conflict.

    Example:
        @hookimpl
        def perstack_register_runtimes():
            return [RuntimeSpec(name="acme", summary="Acme's sandboxes.", factory=make, claims=frozenset({"env"}))]
    """


@hookspec
def perstack_register_transports() -> Iterable[TransportSpec]:
    """Offer ways to talk to skills, by the skill's ``type``. Two plugins with one type are a conflict.

    Example:
        @hookimpl
        def perstack_register_transports():
            return [TransportSpec(type="mcpStdioSkill", summary="MCP over standard streams.", factory=StdioTransport)]
    """


@hookspec
def perstack_register_providers() -> Iterable[ProviderSpec]:
    """Offer model providers: ``--provider NAME``. Two plugins with one name are a conflict.

    A run connects to the hosts that the spec names and to no others. `make` hands its context's `network` to
    `perstack.model_http.ModelClient`, which holds to that and records each connection.

    Example:
        @hookimpl
        def perstack_register_providers():
            hosts = ("api.acme.example",)
            return [ProviderSpec(name="acme", summary="Acme's models.", factory=make, api_hosts=hosts)]
    """


@hookspec
def perstack_register_storages() -> Iterable[StorageSpec]:
    """Offer places for journals, by URL scheme. Two plugins with one scheme are a conflict.

    Example:
        @hookimpl
        def perstack_register_storages():
            return [StorageSpec(scheme="s3", summary="An S3 bucket.", factory=S3Store)]
    """


@hookspec
def perstack_register_event_sinks() -> Iterable[EventSinkSpec]:
    """Receive every event of every run, redacted. A sink that fails or is slow loses events, counted; runs go on.

    Example:
        @hookimpl
        def perstack_register_event_sinks():
            return [EventSinkSpec(name="acme-trace", summary="Traces to Acme.", factory=TraceSink)]
    """


# --- help ------------------------------------------------------------------------------------------------------------


@hookspec
def perstack_doctor_checks() -> Iterable[DoctorCheck]:
    """Ask questions about this host in ``perstack doctor``. An implementation that raises is shown as a failed check.

    Example:
        @hookimpl
        def perstack_doctor_checks():
            return [DoctorCheck(name="acme", summary="The Acme daemon answers.", run=ping)]
    """


@hookspec
def perstack_error_hints(error: Exception) -> Iterable[ErrorHint]:
    """Add a next step to an error that is about to be shown. Errors in here are swallowed.

    Example:
        @hookimpl
        def perstack_error_hints(error):
            if "ACME_KEY" in str(error):
                return [ErrorHint(text="Get a key with: acme login")]
    """
