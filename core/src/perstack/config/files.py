"""Configuration files: where they are, and what is read of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from perstack.config.keylines import Path as KeyPath
from perstack.config.keylines import dotted, scan
from perstack.config.layers import Layer, Rank
from perstack.errors import ConfigError, Problem
from perstack.messages import JsonValue
from perstack.skill_policy import Origin

FILE_NAME = "perstack.toml"
LONGEST = 1024 * 1024
"""Bytes of a configuration or env file. The longest instruction has 20 KiB, so this holds fifty Experts."""

BEYOND_64_BITS = 2**63
"""The first whole number that TOML does not promise; the last one below zero is as far away."""


def find(config: str | None, cwd: Path) -> Path | None:
    """The project's file: the one that was named, or the closest above the working directory, or None.

    Raises:
        ConfigError: The named file is remote or not there, or the found one belongs to another user.
    """
    if config is None:
        return _search(cwd)
    if config.lower().startswith(("http://", "https://")):
        raise _error(
            config,
            "is remote, and what it says could change after you have read it",
            "Download it, review it with: perstack check --config FILE --review, and pass the path.",
        )
    return cwd / config


def _search(cwd: Path) -> Path | None:
    for directory in (cwd, *cwd.parents):
        path = directory / FILE_NAME
        if path.is_file():
            # Else any user of the machine could put a file into a shared directory above, such as /tmp.
            if directory != cwd and hasattr(os, "getuid") and path.stat().st_uid not in {0, os.getuid()}:
                raise _error(
                    path,
                    "was found above this directory and belongs to another user",
                    f"Pass --config {path} if you trust it.",
                )
            return path
    return None


def read_bytes(path: Path) -> bytes:
    """What a regular file of bounded size holds.

    Raises:
        ConfigError: It is not there, cannot be read, is no regular file, or is too long.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would hold us up, a device never end
            raise _error(path, "is not a file")
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise _error(path, f"cannot be read: {(error.strerror or 'unknown error').lower()}") from None
    if len(data) > LONGEST:
        raise _error(path, f"is longer than {LONGEST} bytes")
    return data


def parse_toml(path: Path, data: bytes) -> tuple[dict[str, JsonValue], dict[KeyPath, Origin]]:
    """The values of a TOML file, and the line of each key.

    Raises:
        ConfigError: It is not TOML; says where.
    """
    import tomli

    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(message="is not UTF-8", where=str(path), line=line)]) from None
    try:
        values = tomli.loads(text)
        lines = scan(text)
    except tomli.TOMLDecodeError as error:
        if text.startswith("\ufeff"):
            raise _error(path, "begins with a byte order mark, which TOML does not have", "Save it without.") from None
        message = f"{error.msg[:1].lower()}{error.msg[1:]} in column {error.colno}"
        raise ConfigError([Problem(message=message, where=str(path), line=error.lineno)]) from None
    except RecursionError:
        raise _error(path, "is nested too deeply") from None
    except ValueError:  # Python's own bound on digits, which tomli does not turn into an error of its own
        raise _error(path, "holds a number that is too long") from None
    if long := list(_numbers_beyond(values)):
        raise ConfigError(
            [
                Problem(message="has more than 64 bits", where=str(path), line=lines.get(key), key=dotted(key))
                for key in long
            ]
        )
    return values, {key: Origin(source=str(path), line=line) for key, line in lines.items()}


def _numbers_beyond(value: JsonValue, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Where whole numbers stand that TOML does not have: neither JSON nor a clock could hold them."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers_beyond(inner, (*path, key))
    elif isinstance(value, int) and not -BEYOND_64_BITS <= value < BEYOND_64_BITS:
        yield path


def read_layer(path: Path, *, rank: int, operator: bool) -> Layer:
    """One TOML file as a layer.

    Raises:
        ConfigError: The file cannot be read or is not TOML.
    """
    values, origins = parse_toml(path, read_bytes(path))
    return Layer(rank=rank, values=values, source=str(path), origins=origins, operator=operator)


def settings_paths(environ: Mapping[str, str]) -> Iterator[tuple[Rank, Path]]:
    """Where the site's and the user's own settings may be, by the XDG rules."""
    for directory in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
        if directory.startswith("/"):
            yield Rank.SITE, Path(directory, "perstack", "config.toml")
            break
    home = environ.get("XDG_CONFIG_HOME") or environ.get("APPDATA")
    if not home and environ.get("HOME"):
        home = str(Path(environ["HOME"], ".config"))
    if home and Path(home).is_absolute():
        yield Rank.USER, Path(home, "perstack", "config.toml")


def settings_layers(environ: Mapping[str, str], directory: Path) -> list[Layer]:
    """The site's and the user's layers for a project in `directory`.

    A ``[projects."DIRECTORY".policy]`` table of the user's file holds for the project in that directory alone.

    Raises:
        ConfigError: A file is there and cannot be read or is not TOML.
    """
    layers = []
    for rank, path in settings_paths(environ):
        if path.is_file():
            layer = read_layer(path, rank=rank, operator=True)
            layers += [_without_projects(layer), *_for_project(layer, directory, environ)]
    return layers


def _without_projects(layer: Layer) -> Layer:
    values = {key: value for key, value in layer.values.items() if key != "projects"}
    return Layer(rank=layer.rank, values=values, source=layer.source, origins=layer.origins, operator=True)


def _for_project(layer: Layer, directory: Path, environ: Mapping[str, str]) -> Iterator[Layer]:
    projects = layer.values.get("projects", {})
    if not isinstance(projects, dict):
        raise _error(layer.source, "projects must be a table of directories")
    for name, table in projects.items():
        if not isinstance(table, dict) or not table.keys() <= {"policy"}:
            raise _error(layer.source, f"the table of the project {name!r} may hold policy and nothing else")
        home = environ.get("HOME", "")
        project = Path(home + name[1:] if home and name.startswith("~/") else name)
        if not project.is_absolute():
            raise _error(layer.source, f"the project {name!r} is not an absolute directory", "Start it with / or ~/.")
        if os.path.realpath(project) == os.path.realpath(directory):
            base = ("projects", name)
            origins = {path[2:]: origin for path, origin in layer.origins.items() if path[:2] == base}
            yield Layer(rank=layer.rank, values=table, source=layer.source, origins=origins, operator=True)


def _error(where: object, message: str, hint: str = "") -> ConfigError:
    return ConfigError([Problem(message=message, where=str(where), hint=hint)])
