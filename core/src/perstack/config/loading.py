"""The road from files, variables and options to one `Project`: every problem at once, every value with its origin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.config import environment, files
from perstack.config.environment import EnvFile, HostEnv
from perstack.config.layers import JsonTable, Layer, Origins, Rank, merge, misplaced
from perstack.errors import ConfigError, Problem
from perstack.messages import JsonValue
from perstack.skill_policy import BUILT_IN, Origin
from perstack.specs import ConfigContext

if TYPE_CHECKING:
    from perstack.config.models import Project
    from perstack.plugins.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A configuration that holds, and where each part of it came from.

    Attributes:
        path: The project's file; the user's own settings when there is no project.
        directory: Where it lies; paths in it start from there.
        values: The merged tables, as plugins see them.
        broken: What is wrong with Experts that therefore are not in `project.experts`, by key.
        ignored: What was read and has no effect.
        operator_sources: Places that speak for whoever runs perstack, rather than for whoever wrote the project.
    """

    project: Project
    path: Path
    directory: Path
    origins: Origins
    host_env: HostEnv
    values: JsonTable = field(repr=False)
    broken: Mapping[str, tuple[Problem, ...]]
    ignored: tuple[Problem, ...] = ()
    operator_sources: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """The layers of a configuration before plugins had their say.

    Attributes:
        foreign: Whether the project's file is none of core's format, so that a plugin has to read it.
    """

    path: Path
    directory: Path
    layers: tuple[Layer, ...]
    foreign: bool = False

    def plugins(self, *, operator: bool) -> dict[str, JsonValue]:
        """The merged ``[plugins]`` tables of the operator's layers, or of the others."""
        values, _ = merge([layer for layer in self.layers if layer.operator is operator])
        table = values.get("plugins", {})
        return table if isinstance(table, dict) else {}


def read_sources(*, config: str | None, cwd: Path, environ: Mapping[str, str]) -> Sources:
    """The project's file and the settings around it; nothing in them is validated yet.

    Without a project's file, Experts of the user's own settings are enough.

    Raises:
        ConfigError: There is no file, or one cannot be read.
    """
    path = files.find(config, cwd)
    directory = path.parent if path else cwd
    layers = files.settings_layers(environ, directory)
    if path is None:
        own = next((layer for layer in reversed(layers) if layer.values.get("experts")), None)
        if own is None:
            message = f"there is no {files.FILE_NAME} in {cwd} or above it, and no Expert in your own settings"
            hint = f"Write a {files.FILE_NAME}, or name one with --config."
            raise ConfigError([Problem(message=message, hint=hint)])
        return Sources(path=Path(own.source), directory=cwd, layers=tuple(layers))
    foreign = path.suffix != ".toml"
    if not foreign:
        layers.append(files.read_layer(path, rank=Rank.PROJECT, operator=False))
    return Sources(path=path, directory=directory, layers=tuple(layers), foreign=foreign)


def load_project(
    *,
    config: str | None = None,
    cwd: Path,
    overrides: Mapping[str, JsonValue],
    environ: Mapping[str, str],
    env_paths: Sequence[str] | None = None,
    registry: Registry | None = None,
) -> Loaded:
    """The configuration of a command.

    Args:
        config: ``--config``; None searches upwards from `cwd`.
        cwd: Working directory, absolute.
        overrides: Values of options, by the configuration's keys.
        environ: The process's variables.
        env_paths: ``--env-path``, in place of the configuration's own; None when it was not given.
        registry: Plugins, whose formats and layers take part; None for none.

    Raises:
        ConfigError: Carries every problem of every layer. Those of single Experts are kept in `Loaded.broken`
            instead when nothing else is wrong, so that one Expert's mistake does not stop another.
    """
    sources = read_sources(config=config, cwd=cwd, environ=environ)
    return load_sources(sources, cwd=cwd, overrides=overrides, environ=environ, env_paths=env_paths, registry=registry)


def load_sources(
    sources: Sources,
    *,
    cwd: Path,
    overrides: Mapping[str, JsonValue],
    environ: Mapping[str, str],
    env_paths: Sequence[str] | None = None,
    registry: Registry | None = None,
) -> Loaded:
    """The configuration that `sources` and the layers above them make; as `load_project`."""
    layers = [*sources.layers, *_foreign_layers(registry, sources), *_plugin_layers(registry, sources)]
    problems = [problem for layer in layers for problem in misplaced(layer)]
    try:
        env_files = _env_files(sources, layers, env_paths, cwd)
        host_env, ignored = environment.read(environ, env_files)
        layers += environment.layers(host_env)
    except ConfigError as error:
        problems += error.problems
        env_files, host_env, ignored = [], HostEnv(values={}, origins={}), []
    layers += [layer for key, value in overrides.items() for layer in _option_layers(key, value)]
    values, origins = merge(layers)
    project, broken, wrong = _validate(values, origins)
    problems += wrong
    if project is None or problems:
        raise ConfigError([*problems, *(problem for some in broken.values() for problem in some)])
    return Loaded(
        project=project,
        path=sources.path,
        directory=sources.directory,
        origins=origins,
        host_env=host_env,
        values=values,
        broken=broken,
        ignored=tuple(ignored),
        operator_sources=frozenset(
            [
                *(layer.source for layer in layers if layer.operator),
                *(str(file.path) for file in env_files if file.operator),
                str(environment.PROCESS),
                str(BUILT_IN),
            ]
        ),
    )


def _validate(
    values: dict[str, JsonValue], origins: Origins
) -> tuple[Project | None, dict[str, tuple[Problem, ...]], list[Problem]]:
    """The project without its broken Experts, what is wrong with those, and what is wrong elsewhere."""
    from pydantic import ValidationError

    from perstack.config.models import Project
    from perstack.config.problems import problems_of, unknown_delegates

    try:
        return Project.model_validate(values), {}, []
    except ValidationError as error:
        by_expert, elsewhere = problems_of(error, origins)
    experts = values.get("experts")
    if not isinstance(experts, dict):
        return None, by_expert, elsewhere
    unknown = unknown_delegates(experts, origins)  # what else is wrong is told at once
    told = unknown if elsewhere else by_expert
    by_expert = {key: (*by_expert.get(key, ()), *unknown.get(key, ())) for key in {**by_expert, **told}}
    if elsewhere:
        return None, by_expert, elsewhere
    sound = {key: table for key, table in experts.items() if key not in by_expert}
    return Project.model_validate({**values, "experts": sound}), by_expert, []


def _env_files(sources: Sources, layers: Sequence[Layer], env_paths: Sequence[str] | None, cwd: Path) -> list[EnvFile]:
    if env_paths is not None:
        return [EnvFile(path=cwd / path, needed=True, operator=True) for path in env_paths]
    naming = [layer for layer in sorted(layers, key=lambda layer: layer.rank) if "envPath" in layer.values]
    if not naming:
        return environment.project_files(environment.ENV_FILES, sources.directory, Origin(source=str(sources.path)))
    layer = naming[-1]
    paths = layer.values["envPath"]
    if not isinstance(paths, list):
        return []  # validation says what is wrong
    names = [path for path in paths if isinstance(path, str)]
    if layer.operator:
        return [EnvFile(path=Path(layer.source).parent / path, operator=True) for path in names]
    return environment.project_files(names, sources.directory, layer.origin(("envPath",)))


def _foreign_layers(registry: Registry | None, sources: Sources) -> list[Layer]:
    if not sources.foreign:
        return []
    where = str(sources.path)
    if registry is None:
        raise ConfigError([Problem(message="is no TOML file", where=where, hint="Give it a name that ends in .toml.")])
    data = files.read_bytes(sources.path)
    values = registry.parse_config(ConfigContext(path=sources.path, directory=sources.directory), data)
    if "plugins" in values:
        hint = "Move the table into a perstack.toml or into your own settings."
        message = "a file that a plugin reads cannot choose plugins"
        raise ConfigError([Problem(message=message, where=where, key="plugins", hint=hint)])
    return [Layer(rank=Rank.PROJECT, values=values, source=where)]


def _plugin_layers(registry: Registry | None, sources: Sources) -> list[Layer]:
    if registry is None:
        return []
    context = ConfigContext(path=sources.path, directory=sources.directory)
    return [
        Layer(rank=layer.rank, values=layer.values, source=str(layer.origin), operator=layer.rank < Rank.PROJECT)
        for layer in registry.config_layers(context)
    ]


def _option_layers(key: str, value: JsonValue) -> Iterator[Layer]:
    """A layer named after the option; the options about the policy are called as their keys in its table."""
    if key == "policy" and isinstance(value, dict):
        tables: dict[str, JsonValue] = {inner: {inner: each} for inner, each in value.items()}
    else:
        tables = {key: value}
    for name, table in tables.items():
        option = "--" + re.sub(r"[A-Z]", lambda letter: f"-{letter[0].lower()}", name)
        yield Layer(rank=Rank.COMMAND_LINE, values={key: table}, source=option, operator=True)
