"""What all loaded plugins say when they are asked, reduced by the rule of each hook.

A policy hook that raises denies; an observer that raises is left out. Answers are in the order of the plugins' names,
whatever was installed first.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from perstack.errors import ConfigError, PolicyError, Problem
from perstack.plugins.implementations import Implementation
from perstack.plugins.records import PluginRecord
from perstack.specs import (
    ConfigContext,
    ConfigLayer,
    DoctorCheck,
    EgressRule,
    EgressTarget,
    EnvRule,
    EnvTarget,
    ErrorHint,
    HealthReport,
    ToolVerdict,
    ToolView,
)

if TYPE_CHECKING:
    from perstack.messages import JsonValue, ToolCall

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedPlugin:
    """A plugin with what it brought; nothing but its record unless it is active."""

    record: PluginRecord
    implementations: tuple[Implementation, ...] = ()
    specs: tuple[object, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PluginHooks:
    """The hooks of all active plugins, one method each.

    Attributes:
        plugins: Every installed plugin, sorted by name, active or not.
    """

    plugins: tuple[LoadedPlugin, ...]

    # --- configuration ---------------------------------------------------------------------------------------------

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


def _failed_check(reason: str) -> DoctorCheck:
    async def run() -> HealthReport:
        return HealthReport(ok=False, detail=reason, fix="Update the plugin, or block it with -p no:NAME.")

    return DoctorCheck(name="checks", summary="The plugin says which checks it has.", run=run)
