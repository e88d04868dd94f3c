"""A project with the plugins that take part in it: where every command begins that reads a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.config.loading import Loaded, Sources, load_sources, read_sources
from perstack.config.problems import suggestion
from perstack.errors import ConfigError, PluginError, Problem
from perstack.messages import JsonValue

if TYPE_CHECKING:
    from perstack.plugins.registry import Registry


def open_project(
    *,
    config: str | None = None,
    cwd: Path,
    overrides: Mapping[str, JsonValue],
    environ: Mapping[str, str],
    env_paths: Sequence[str] | None = None,
    plugin_options: Sequence[str] = (),
) -> tuple[Loaded, Registry]:
    """The configuration and its plugins, which have been told their settings and have checked it.

    It takes what `perstack.config.loading.load_project` takes, and the values of ``-p``.

    Raises:
        ConfigError: Carries every problem.
        PluginError: A plugin that is required did not load.
    """
    from perstack.plugins.manager import load
    from perstack.plugins.selection import select

    sources = read_sources(config=config, cwd=cwd, environ=environ)
    selection = select(
        environ=environ,
        options=plugin_options,
        user=sources.plugins(operator=True),
        project=sources.plugins(operator=False),
    )
    registry = load(selection)
    loaded = load_sources(
        sources, cwd=cwd, overrides=overrides, environ=environ, env_paths=env_paths, registry=registry
    )
    settings, problems = _settings(loaded, registry)
    problems += _silenced(sources, loaded, plugin_options)
    problems += _provider_settings(loaded, registry)
    if problems:
        raise ConfigError(problems)
    registry = registry.configure(settings)
    found = [_placed(loaded, problem) for problem in registry.check_config(loaded.values)]
    if found:
        raise ConfigError(found)
    return loaded, registry


def _settings(loaded: Loaded, registry: Registry) -> tuple[dict[str, object], list[Problem]]:
    """What each plugin makes of its table. The table of a plugin that was left out says nothing.

    The table of one that failed is a problem: whoever wrote it counts on the plugin, which may be a guard.
    """
    parsed: dict[str, object] = {}
    problems = []
    absent = {record.name for record in registry.records if not record.active and not record.broken}
    for name, table in loaded.project.plugins.settings.items():
        if name in absent:
            continue
        origin = loaded.origins.at("plugins", name)
        try:
            parsed[name] = registry.setting(name).parse(table)
        except Exception as error:  # noqa: BLE001 a plugin may raise anything
            said = isinstance(error, (PluginError, ValueError))
            message = str(error) if said else f"the plugin cannot read it: {type(error).__name__}: {error}"
            hint = error.hint if isinstance(error, PluginError) else ""
            problem = Problem(message=message, where=origin.source, line=origin.line, key=f"plugins.{name}")
            problems.append(replace(problem, hint=hint))
    return parsed, problems


def _silenced(sources: Sources, loaded: Loaded, options: Sequence[str]) -> list[Problem]:
    """A problem for each plugin that only the project leaves out: the operator has configured it, maybe as a guard."""
    own, project = sources.plugins(operator=True), sources.plugins(operator=False)
    problems = []
    for position, name in enumerate(loaded.project.plugins.block):
        origin = loaded.origins.at("plugins", "block", position)
        if (
            isinstance(own.get(name), dict)
            and _blocks(project, name)
            and not (_blocks(own, name) or f"no:{name}" in options)
        ):
            message = f"a project cannot leave out {name!r}, which your own settings configure"
            hint = f"Leave it out yourself, with -p no:{name}, or under [plugins] in your own settings."
            problem = Problem(message=message, where=origin.source, line=origin.line, key="plugins.block", hint=hint)
            problems.append(problem)
    return problems


def _blocks(plugins: Mapping[str, JsonValue], name: str) -> bool:
    listed = plugins.get("block")
    return isinstance(listed, list) and name in listed


def _provider_settings(loaded: Loaded, registry: Registry) -> list[Problem]:
    """A problem for each setting that the provider does not know, where the provider is installed."""
    provider = loaded.project.provider
    spec = registry.providers.get(provider.provider_name) if provider else None
    if provider is None or spec is None:
        return []
    problems = []
    for key in sorted(provider.setting.keys() - spec.setting_keys):
        origin = loaded.origins.at("provider", "setting", key)
        problem = Problem(
            message=f"is not a setting of the provider {spec.name!r}",
            where=origin.source,
            line=origin.line,
            key=f"provider.setting.{key}",
            hint=suggestion(key, spec.setting_keys),
        )
        problems.append(problem)
    return problems


def _placed(loaded: Loaded, problem: Problem) -> Problem:
    if problem.where or not problem.key:
        return problem
    origin = loaded.origins.at(*problem.key.split("."))
    return replace(problem, where=origin.source, line=origin.line)
