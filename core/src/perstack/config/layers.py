"""Layers of a configuration, who may say what in them, and how they become one, each value with its origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from perstack.config.keylines import Path, dotted
from perstack.errors import Problem
from perstack.messages import JsonValue
from perstack.skill_policy import BUILT_IN, MOUNT_MODES, Origin

JsonTable: TypeAlias = Mapping[str, JsonValue]


class Rank(IntEnum):
    """The order of layers; a value of a higher rank holds. Plugins may use the numbers between."""

    DEFAULTS = 0
    SITE = 10
    USER = 20
    PROJECT = 30
    ENV_FILE = 40
    ENVIRONMENT = 50
    COMMAND_LINE = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """Values that come from one place.

    Attributes:
        values: Tables of a configuration file, with the file's keys.
        source: The place: a file, ``plugin NAME``, ``environment`` or ``command line``.
        origins: Origins that are more exact than `source`, by path.
        operator: Whether the person or site that runs perstack wrote it, rather than whoever wrote the project.
    """

    rank: int
    values: JsonTable
    source: str
    origins: Mapping[Path, Origin] = field(default_factory=dict)
    operator: bool = False

    def origin(self, path: Path) -> Origin:
        """Where the value at `path` stands, or the closest table around it."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path, Origin(source=self.source))


class Origins:
    """Where each value of a merged configuration came from."""

    def __init__(self, by_path: Mapping[Path, Origin]) -> None:
        self._by_path = dict(by_path)

    def at(self, *path: str | int) -> Origin:
        """The origin of the value at `path`; of the closest table around it; or built-in."""
        for end in range(len(path), 0, -1):
            if path[:end] in self._by_path:
                return self._by_path[path[:end]]
        return BUILT_IN

    def __iter__(self) -> Iterator[tuple[str, Origin]]:
        return ((dotted(path), origin) for path, origin in self._by_path.items())


OPERATOR_KEYS: Mapping[Path, str] = {
    ("perstackBaseSkillCommand",): "it replaces the tools of every Expert by any command",
    ("plugins", "allow"): "a plugin runs with your rights outside every boundary",
    ("policy", "relax"): "it takes protection away",
    ("policy", "allowProviderKeys"): "it hands your keys to a skill",
    ("policy", "allowProviderOrigins"): "it leads your credentials to servers that a project names",
    ("policy", "allowProviderTools"): "it opens a way around the sandbox's network",
    ("policy", "accept"): "only the person who runs it can accept a finding",
    ("policy", "engineEgress"): "it leads perstack's own traffic",
    ("policy", "limits"): "it raises what skills may use up of your machine",
    ("egress",): "it says which way out of your network skills take",
    ("projects",): "it holds what you allow single projects",
}
"""What a project may not say about itself, and why."""

# A list that only narrows, or whose lines are each one person's decision, grows from layer to layer; nothing in a
# higher layer takes a line away.
_UNITED: frozenset[Path] = frozenset(
    {
        ("approvals",),
        ("plugins", "block"),
        ("plugins", "require"),
        ("policy", "require"),
        ("policy", "relax"),
        ("policy", "accept"),
        ("policy", "allowProviderKeys"),
        ("policy", "allowProviderOrigins"),
    }
)

_MODE: Path = ("policy", "workspaceMode")


def misplaced(layer: Layer) -> list[Problem]:
    """A problem for each key that this layer may not hold."""
    if layer.operator:
        return []
    problems = []
    for path, reason in OPERATOR_KEYS.items():
        if _holds(layer.values, path):
            origin = layer.origin(path)
            problems.append(
                Problem(
                    message=f"may not stand in a project's file: {reason}",
                    where=origin.source,
                    line=origin.line,
                    key=dotted(path),
                    hint="It belongs in your own settings, perstack/config.toml in your configuration directory.",
                )
            )
    return problems


def merge(layers: Sequence[Layer]) -> tuple[dict[str, JsonValue], Origins]:
    """One configuration: the value of the highest rank holds, table by table.

    An Expert comes whole from one layer, so that no other adds to what it may do. Settings of a provider are dropped
    when a higher layer names another provider. Lists that narrow are united, and of the workspace's modes the narrowest
    holds, whichever layer names it.
    """
    values: dict[str, JsonValue] = {}
    origins: dict[Path, Origin] = {}
    for layer in sorted(layers, key=lambda layer: layer.rank):
        _merge_table(values, layer.values, (), layer, origins)
    return values, Origins(origins)


def _merge_table(
    into: dict[str, JsonValue], table: JsonTable, path: Path, layer: Layer, origins: dict[Path, Origin]
) -> None:
    for key, value in table.items():
        here = (*path, key)
        below = into.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and not _replaces(here, value, below):
            _merge_table(below, value, here, layer, origins)
            continue
        if here in _UNITED and isinstance(value, list) and isinstance(below, list):
            for item in value:
                if item not in below:
                    origins[*here, len(below)] = layer.origin((*here, value.index(item)))
                    below.append(item)
            continue
        if here == _MODE and below is not None and _width(below) <= _width(value):
            continue
        for known in [known for known in origins if known[: len(here)] == here]:
            del origins[known]
        into[key] = _copy(value)
        _record(value, here, layer, origins)


def _width(mode: JsonValue) -> int:
    """How much a mode of the workspace allows; what is none stays, so that validation finds it."""
    return list(MOUNT_MODES).index(mode) if mode in MOUNT_MODES else -1


def _replaces(path: Path, value: JsonTable, below: JsonTable) -> bool:
    if path == ("provider",):
        return "providerName" in value and value["providerName"] != below.get("providerName")
    return len(path) == 2 and path[0] == "experts"


def _record(value: JsonValue, path: Path, layer: Layer, origins: dict[Path, Origin]) -> None:
    origins[path] = layer.origin(path)
    if isinstance(value, dict):
        for key, inner in value.items():
            _record(inner, (*path, key), layer, origins)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            _record(inner, (*path, position), layer, origins)


def _copy(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _holds(values: JsonTable, path: Path) -> bool:
    value: object = values
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True
