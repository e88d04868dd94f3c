"""What all loaded plugins offer and say, reduced by the rule of each hook.

Deny beats ask beats allow; a policy hook that raises denies; a name that two plugins offer belongs to neither; an
observer that raises is left out. Results are in the order of the plugins' names, whatever was installed first.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from perstack.errors import ConfigError, PluginLoadError, PolicyError, Problem
from perstack.plugins.catalogue import Catalogue, Offer, catalogue
from perstack.plugins.implementations import Implementation
from perstack.plugins.records import PluginRecord, Status
from perstack.specs import (
    CommandSpec,
    ConfigContext,
    ConfigLayer,
    DoctorCheck,
    EgressRule,
    EgressTarget,
    EnvRule,
    EnvTarget,
    ErrorHint,
    EventSinkSpec,
    HealthReport,
    MiddlewareSpec,
    ProviderSpec,
    RuntimeSpec,
    SettingsSpec,
    StorageSpec,
    ToolVerdict,
    ToolView,
    TransportSpec,
)

if TYPE_CHECKING:
    from perstack.messages import JsonValue, ToolCall

T = TypeVar("T")

REGISTRATIONS: Mapping[str, type[object]] = {
    "perstack_register_event_sinks": EventSinkSpec,
    "perstack_register_providers": ProviderSpec,
    "perstack_register_runtimes": RuntimeSpec,
    "perstack_register_settings": SettingsSpec,
    "perstack_register_storages": StorageSpec,
    "perstack_register_tool_middleware": MiddlewareSpec,
    "perstack_register_transports": TransportSpec,
}
"""Hooks that are asked once, when a plugin is loaded, with the descriptor that each one gives."""

POLICY_HOOKS = frozenset({"perstack_egress_rules", "perstack_env_rules", "perstack_review_tool_call"})
"""Hooks that can only narrow: a run without their plugin would allow more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedPlugin:
    """A plugin with what it brought; nothing but its record unless it is active."""

    record: PluginRecord
    implementations: tuple[Implementation, ...] = ()
    specs: tuple[object, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Registry:
    """The frozen result of loading.

    Attributes:
        plugins: Every installed plugin, sorted by name, active or not.
        required: Plugins without which nothing is run.
    """

    plugins: tuple[LoadedPlugin, ...]
    required: frozenset[str] = frozenset()

    # --- records ---------------------------------------------------------------------------------------------------

    @property
    def records(self) -> tuple[PluginRecord, ...]:
        """What is known of each plugin."""
        return tuple(plugin.record for plugin in self.plugins)

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each plugin that should have loaded and did not."""
        return tuple(
            f"Plugin {record} takes no part: it is {record.status}: {record.cause}."
            for record in self.records
            if record.broken
        )

    def check_required(self) -> None:
        """Every required plugin is active.

        Raises:
            PluginLoadError: One is not, or is not installed.
        """
        for name in sorted(self.required):
            found = [record for record in self.records if record.name == name]
            if any(record.active for record in found):
                continue
            if not found:
                raise PluginLoadError(
                    f"Plugin {name!r} is required and not installed.", hint=f"pip install perstack-{name}"
                )
            raise PluginLoadError(
                f"Plugin {found[0]} is required and {found[0].status}: {found[0].cause}.",
                hint=f"See: perstack plugins show {name}",
            ) from found[0].error

    # --- names that users write ------------------------------------------------------------------------------------

    @property
    def runtimes(self) -> Mapping[str, RuntimeSpec]:
        """Runtimes by name, without aliases."""
        return self._runtimes().unique()

    @property
    def providers(self) -> Mapping[str, ProviderSpec]:
        """Providers by name."""
        return self._providers().unique()

    @property
    def transports(self) -> Mapping[str, TransportSpec]:
        """Transports by skill type."""
        return self._transports().unique()

    @property
    def storages(self) -> Mapping[str, StorageSpec]:
        """Storages by URL scheme."""
        return self._storages().unique()

    @property
    def settings(self) -> Mapping[str, SettingsSpec]:
        """Descriptions of ``[plugins.NAME]`` tables by name."""
        return self._settings().unique()

    def runtime(self, name: str) -> RuntimeSpec:
        """The runtime called `name`, or of which that is an older name.

        Raises:
            PluginError: None or several are; the hint says what to do.
        """
        return self._runtimes().find(name, self.records).spec

    def provider(self, name: str) -> ProviderSpec:
        """The provider called `name`.

        Raises:
            PluginError: None or several are; the hint says what to do.
        """
        return self._providers().find(name, self.records).spec

    def transport(self, skill_type: str) -> TransportSpec:
        """The transport for skills of `skill_type`.

        Raises:
            PluginError: None or several are; the hint says what to do.
        """
        return self._transports().find(skill_type, self.records).spec

    def storage(self, scheme: str) -> StorageSpec:
        """The storage for URLs of `scheme`.

        Raises:
            PluginError: None or several are; the hint says what to do.
        """
        return self._storages().find(scheme, self.records).spec

    def setting(self, name: str) -> SettingsSpec:
        """The description of the table ``[plugins.NAME]``.

        Raises:
            PluginError: None or several describe it, or its plugin did not load; the hint says what to do.
        """
        return self._settings().find(name, self.records).spec

    def command(self, name: str) -> CommandSpec:
        """The subcommand `name` of a plugin.

        Raises:
            PluginError: None or several offer it, or a plugin failed to say what it offers.
        """
        offers: list[Offer[CommandSpec]] = []
        failure: PluginLoadError | None = None
        for plugin in self.plugins:
            for implementation in plugin.implementations:
                if implementation.hook != "perstack_register_commands":
                    continue
                try:
                    specs = implementation.collect(CommandSpec)
                except Exception as error:  # noqa: BLE001 a plugin may raise anything
                    failure = PluginLoadError(f"Plugin {plugin.record} failed to give its commands: {error}.")
                    failure.__cause__ = error
                else:
                    offers += [Offer(plugin=plugin.record, spec=spec) for spec in specs]
        commands = catalogue("command", offers, lambda spec: (spec.name,))
        if failure is not None and name not in commands.offers:
            raise failure
        return commands.find(name, self.records).spec

    @property
    def sinks(self) -> tuple[EventSinkSpec, ...]:
        """Receivers of events."""
        return tuple(offer.spec for offer in self._offers(EventSinkSpec))

    @property
    def middleware(self) -> tuple[MiddlewareSpec, ...]:
        """Layers around tool calls, outermost first."""
        return tuple(sorted((offer.spec for offer in self._offers(MiddlewareSpec)), key=lambda m: (m.stage, m.name)))

    # --- configuration ---------------------------------------------------------------------------------------------

    def configure(self, settings: Mapping[str, object]) -> Registry:
        """This registry with every plugin told its settings; one that fails here takes no part in what is returned.

        Args:
            settings: What each `SettingsSpec.parse` returned, by name.

        Raises:
            PluginLoadError: A plugin failed that is required, or without whose policy hooks more would be allowed.
        """
        plugins = []
        for plugin in self.plugins:
            try:
                for implementation in plugin.implementations:
                    if implementation.hook == "perstack_configure":
                        implementation.call(settings=settings)
            except Exception as error:
                cause = f"perstack_configure failed: {type(error).__name__}: {error}"
                if POLICY_HOOKS.intersection(plugin.record.hooks):
                    raise PluginLoadError(
                        f"Plugin {plugin.record} guards this run and is failed: {cause}.",
                        hint=f"Mend its settings, or leave it out: -p no:{plugin.record.name}",
                    ) from error
                failed = replace(plugin.record, status=Status.FAILED, cause=cause, error=error)
                plugins.append(LoadedPlugin(record=failed))
            else:
                plugins.append(plugin)
        registry = replace(self, plugins=tuple(plugins))
        registry.check_required()
        return registry

    def parse_config(self, context: ConfigContext, data: bytes) -> Mapping[str, JsonValue]:
        """The configuration in `data`, read by the first plugin that knows its format; core's TOML reader is last.

        Raises:
            ConfigError: The plugin that tried could not read it, or none knows the format.
        """
        found = sorted(self._implementations("perstack_parse_config"), key=lambda one: (one.priority, one.plugin))
        for implementation in found:
            try:
                parsed = implementation.call(context=context, data=data)
            except ConfigError:
                raise
            except Exception as error:
                message = f"plugin {implementation.plugin!r} could not read it: {error}"
                raise ConfigError([Problem(message=message, where=str(context.path))]) from error
            if isinstance(parsed, Mapping):
                return parsed
        raise ConfigError([Problem(message="no plugin knows this format", where=str(context.path))])

    def config_layers(self, context: ConfigContext) -> tuple[ConfigLayer, ...]:
        """Further layers of configuration, lowest rank first.

        Raises:
            ConfigError: A plugin failed to give its layers.
        """
        layers: list[ConfigLayer] = []
        for implementation in self._implementations("perstack_config_layers"):
            try:
                layers += implementation.collect(ConfigLayer, context=context)
            except Exception as error:
                message = f"failed to give its layers of configuration: {type(error).__name__}: {error}"
                raise ConfigError([Problem(message=message, where=f"plugin {implementation.plugin!r}")]) from error
        return tuple(sorted(layers, key=lambda layer: layer.rank))

    def check_config(self, config: Mapping[str, JsonValue]) -> tuple[Problem, ...]:
        """The problems that plugins find; a plugin that fails to check is one of them."""
        problems: list[Problem] = []
        for implementation in self._implementations("perstack_check_config"):
            try:
                problems += implementation.collect(Problem, config=config)
            except Exception as error:  # noqa: BLE001 a plugin may raise anything
                message = f"failed to check the configuration: {type(error).__name__}: {error}"
                problems.append(Problem(message=message, where=f"plugin {implementation.plugin!r}"))
        return tuple(problems)

    # --- policy ----------------------------------------------------------------------------------------------------

    def env_rules(self, target: EnvTarget) -> tuple[tuple[str, EnvRule], ...]:
        """Each plugin's rules on variables, with its name.

        Raises:
            PolicyError: A plugin failed, so nobody knows what it would have denied.
        """
        return tuple(self._rules("perstack_env_rules", EnvRule, target))

    def egress_rules(self, target: EgressTarget) -> tuple[tuple[str, EgressRule], ...]:
        """Each plugin's rules on domains, with its name.

        Raises:
            PolicyError: A plugin failed, so nobody knows what it would have denied.
        """
        return tuple(self._rules("perstack_egress_rules", EgressRule, target))

    def review(self, call: ToolCall, tool: ToolView) -> tuple[tuple[str, ToolVerdict], ...]:
        """Each opinion on a tool call, with its plugin's name; a plugin that fails denies.

        Plugins see copies: what one of them changes in the arguments is neither shown to the next nor dispatched.
        """
        verdicts: list[tuple[str, ToolVerdict]] = []
        for implementation in self._implementations("perstack_review_tool_call"):
            try:
                verdict = implementation.call(call=copy.deepcopy(call), tool=copy.deepcopy(tool))
                if verdict is not None and not isinstance(verdict, ToolVerdict):
                    raise TypeError(f"it returned {type(verdict).__name__}, not ToolVerdict")
            except Exception as error:  # noqa: BLE001 a plugin may raise anything
                reason = f"its review failed: {type(error).__name__}: {error}"
                verdict = ToolVerdict(decision="deny", reason=reason)
            if verdict is not None:
                verdicts.append((implementation.plugin, verdict))
        return tuple(verdicts)

    # --- help ------------------------------------------------------------------------------------------------------

    def doctor_checks(self) -> tuple[tuple[str, DoctorCheck], ...]:
        """The checks of every plugin, by plugin; one that could not say which it has is a check that fails."""
        found: list[tuple[str, DoctorCheck]] = []
        for implementation in self._implementations("perstack_doctor_checks"):
            try:
                checks = implementation.collect(DoctorCheck)
            except Exception as error:  # noqa: BLE001 - the hook's contract
                checks = (_failed_check(str(error) or type(error).__name__),)
            found += [(implementation.plugin, check) for check in checks]
        return tuple(found)

    def error_hints(self, error: Exception) -> tuple[str, ...]:
        """What plugins know about an error; one that fails here knows nothing."""
        hints: list[str] = []
        for implementation in self._implementations("perstack_error_hints"):
            try:
                hints += [hint.text for hint in implementation.collect(ErrorHint, error=error)]
            except Exception:  # noqa: BLE001, S112 the error that is about to be shown matters more
                continue
        return tuple(hints)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _implementations(self, hook: str) -> Iterator[Implementation]:
        return (one for plugin in self.plugins for one in plugin.implementations if one.hook == hook)

    def _rules(self, hook: str, kind: type[T], target: object) -> Iterator[tuple[str, T]]:
        for implementation in self._implementations(hook):
            try:
                rules = implementation.collect(kind, target=target)
            except Exception as error:
                raise PolicyError(
                    f"Plugin {implementation.plugin!r} failed to give its rules: {type(error).__name__}: {error}. "
                    "Nothing was started.",
                    hint=f"Mend it, or leave it out: -p no:{implementation.plugin}",
                ) from error
            yield from ((implementation.plugin, rule) for rule in rules)

    def _offers(self, kind: type[T]) -> Iterable[Offer[T]]:
        return (
            Offer(plugin=plugin.record, spec=spec)
            for plugin in self.plugins
            for spec in plugin.specs
            if isinstance(spec, kind)
        )

    def _runtimes(self) -> Catalogue[RuntimeSpec]:
        return catalogue("runtime", self._offers(RuntimeSpec), lambda spec: (spec.name, *spec.aliases))

    def _providers(self) -> Catalogue[ProviderSpec]:
        return catalogue("provider", self._offers(ProviderSpec), lambda spec: (spec.name,))

    def _transports(self) -> Catalogue[TransportSpec]:
        return catalogue("transport", self._offers(TransportSpec), lambda spec: (spec.type,))

    def _storages(self) -> Catalogue[StorageSpec]:
        return catalogue("storage", self._offers(StorageSpec), lambda spec: (spec.scheme,))

    def _settings(self) -> Catalogue[SettingsSpec]:
        return catalogue("settings table", self._offers(SettingsSpec), lambda spec: (spec.name,))


def _failed_check(reason: str) -> DoctorCheck:
    async def run() -> HealthReport:
        return HealthReport(ok=False, detail=reason, fix="Update the plugin, or block it with -p no:NAME.")

    return DoctorCheck(name="checks", summary="The plugin says which checks it has.", run=run)
