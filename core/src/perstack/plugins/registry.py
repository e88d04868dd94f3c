"""What all loaded plugins offer under names that users write. A name that two plugins offer belongs to neither."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from perstack.errors import PluginLoadError
from perstack.plugins.catalogue import Catalogue, Offer, catalogue
from perstack.plugins.hooks import LoadedPlugin, PluginHooks
from perstack.plugins.records import PluginRecord, Status
from perstack.specs import (
    CommandSpec,
    EventSinkSpec,
    MiddlewareSpec,
    ProviderSpec,
    RuntimeSpec,
    SettingsSpec,
    StorageSpec,
    TransportSpec,
)

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
class Registry(PluginHooks):
    """The frozen result of loading: which plugins there are, what they offer, and what they say when asked.

    Attributes:
        required: Plugins without which nothing is run.
    """

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

    # --- settings --------------------------------------------------------------------------------------------------

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

    # --- inside ----------------------------------------------------------------------------------------------------

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
