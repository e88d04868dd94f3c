"""The host's variables: those of the process, and those of env files where the process has none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perstack_proxy.envnames import SAFE_NAMES, is_protected
from perstack_proxy.limits import NUMBER_DIGITS

from perstack.config import dotenv, files
from perstack.config.layers import JsonTable, Layer, Rank
from perstack.errors import ConfigError, Problem
from perstack.messages import JsonValue
from perstack.skill_policy import Origin

ENV_FILES = (".env", ".env.local")
"""Read from the project's directory when nobody names others; those that are not there are left out."""

PROCESS = Origin(source="environment")

VARIABLES = {
    "PERSTACK_MODEL": "model",
    "PERSTACK_PROVIDER": "provider",
    "PERSTACK_RUNTIME": "runtime",
    "PERSTACK_REASONING_BUDGET": "reasoningBudget",
    "PERSTACK_MAX_STEPS": "maxSteps",
    "PERSTACK_MAX_RETRIES": "maxRetries",
    "PERSTACK_TIMEOUT": "timeout",
}
"""Variables that stand for keys of the configuration."""

_PROCESS_ONLY = frozenset({"PERSTACK_RUNTIME", "PERSTACK_PLUGINS"})
"""A file in a workspace may not choose the boundary or what runs outside of it."""

_NUMBERS = frozenset({"maxSteps", "maxRetries", "timeout"})


@dataclass(frozen=True, kw_only=True, slots=True)
class HostEnv:
    """Variables that have a value, and where each one came from. Values are secrets until decided otherwise."""

    values: Mapping[str, str] = field(repr=False)
    origins: Mapping[str, Origin]


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvFile:
    """An env file to read.

    Attributes:
        needed: Whether it has to be there.
        operator: Whether the person or site that runs perstack named it, rather than whoever wrote the project.
    """

    path: Path
    needed: bool = False
    operator: bool = False


def project_files(paths: Iterable[str], directory: Path, origin: Origin) -> list[EnvFile]:
    """The env files that a project names: inside its own directory, links followed.

    Raises:
        ConfigError: One is outside. Its lines would become values that skills may ask for.
    """
    root = Path(os.path.realpath(directory))
    outside = [path for path in paths if not Path(os.path.realpath(root / path)).is_relative_to(root)]
    if outside:
        raise ConfigError(
            [
                Problem(
                    message=f"{path!r} is outside of the project's directory",
                    where=origin.source,
                    line=origin.line,
                    key="envPath",
                    hint="Name it yourself, with --env-path or in your own settings.",
                )
                for path in outside
            ]
        )
    return [EnvFile(path=directory / path) for path in paths]


def read(environ: Mapping[str, str], env_files: Iterable[EnvFile]) -> tuple[HostEnv, list[Problem]]:
    """The host's variables, and what in the files was not taken.

    The process's own variables hold over files, and a later file over an earlier one. Names that decide what runs or
    where traffic goes are not taken from files: whatever wrote into a workspace could set them.

    Raises:
        ConfigError: A file has a line that is none, or one that has to be there is not.
    """
    values: dict[str, str] = {}
    origins: dict[str, Origin] = {}
    problems: list[Problem] = []
    ignored: list[Problem] = []
    for file in env_files:
        if not file.needed and not file.path.exists():
            continue
        try:
            text = files.read_bytes(file.path).decode()
        except ConfigError as error:
            problems += error.problems
            continue
        except UnicodeDecodeError:
            problems.append(Problem(message="is not UTF-8", where=str(file.path)))
            continue
        found, wrong = dotenv.parse(text, where=str(file.path))
        problems += wrong
        for name, (value, line) in found.items():
            if name in SAFE_NAMES or name in _PROCESS_ONLY or is_protected(name):
                message = f"{name} is not taken from files"
                hint = f"Set it in the environment that starts perstack: {name}=…"
                ignored.append(Problem(message=message, where=str(file.path), line=line, hint=hint))
            elif value:
                values[name] = value
                origins[name] = Origin(source=str(file.path), line=line)
    if problems:
        raise ConfigError(problems)
    for name, value in environ.items():
        if value:
            values[name] = value
            origins[name] = PROCESS
    return HostEnv(values=values, origins=origins), ignored


def layers(host_env: HostEnv) -> list[Layer]:
    """The layers that ``PERSTACK_*`` variables make, those of files below those of the process.

    Raises:
        ConfigError: A number is none.
    """
    made = []
    problems = []
    for variable, key in VARIABLES.items():
        text = host_env.values.get(variable)
        if text is None:
            continue
        try:
            value = _value(key, text)
        except ValueError:
            problems.append(Problem(message=f"{text[:40]!r} is not a whole number", where=variable))
            continue
        origin = host_env.origins[variable]
        from_process = origin is PROCESS
        source = variable if from_process else f"{variable} in {origin}"
        rank = Rank.ENVIRONMENT if from_process else Rank.ENV_FILE
        made.append(Layer(rank=rank, values=value, source=source, operator=from_process))
    if problems:
        raise ConfigError(problems)
    return made


def _value(key: str, text: str) -> JsonTable:
    value: JsonValue = text
    if key == "provider":
        value = {"providerName": text}
    elif text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS:
        value = int(text) if key in {*_NUMBERS, "reasoningBudget"} else text
    elif key in _NUMBERS:
        raise ValueError(text)
    return {key: value}
