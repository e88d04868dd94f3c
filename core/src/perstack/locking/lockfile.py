"""``perstack.lock``: what the skills of a project are held to, beside its ``perstack.toml``.

It holds no address and no secret: each machine fetches from its own registry, and the hashes decide. It may come from a
stranger's repository, so its reader is strict: nothing in it names a path outside of its packages, or a weak hash.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from perstack.errors import UserError

FILE_NAME = "perstack.lock"
VERSION = "2"
"""The original's files, which hold no packages and no hashes, are version 1."""
LONGEST = 32 * 1024 * 1024
HEAD = "# Written by: perstack install. It says what skills may be; read its changes before you commit them.\n"
AGAIN = "Write a new one with: perstack install --update"

_NPM_NAME = r"(?:@[A-Za-z0-9][A-Za-z0-9._~-]*/)?[A-Za-z0-9][A-Za-z0-9._~-]*"
_PYPI_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"[0-9A-Za-z][0-9A-Za-z.+!_-]{0,127}"
_SEGMENT = r"(?!\.\.?(?:/|\Z))[^/\x00-\x1f\x7f\\]{1,255}"

NpmName = Annotated[str, Meta(pattern=rf"\A{_NPM_NAME}\Z", max_length=214)]
PypiName = Annotated[str, Meta(pattern=rf"\A{_PYPI_NAME}\Z", max_length=128)]
Version = Annotated[str, Meta(pattern=rf"\A{_VERSION}\Z")]
Folder = Annotated[str, Meta(pattern=rf"\Anode_modules/{_NPM_NAME}(?:/node_modules/{_NPM_NAME})*\Z", max_length=1024)]
Wheel = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl\Z", max_length=255)]
Sha512 = Annotated[str, Meta(pattern=r"\Asha512-[A-Za-z0-9+/]{86}==\Z")]
Sha256 = Annotated[str, Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
Program = Annotated[str, Meta(pattern=rf"\A(?:{_SEGMENT}(?:/{_SEGMENT})*)?\Z", max_length=1024)]
Word = Annotated[str, Meta(pattern=r"\A!?[a-z0-9_]{1,32}\Z")]


class NpmPackage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A package where npm puts it. `os`, `cpu` and `libc` say where it is needed, in npm's words."""

    path: Folder
    name: NpmName
    version: Version
    integrity: Sha512
    os: tuple[Word, ...] = ()
    cpu: tuple[Word, ...] = ()
    libc: tuple[Word, ...] = ()


class PypiPackage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A package's version, and the hash of each wheel of it that may be needed."""

    name: PypiName
    version: Version
    wheels: dict[Wheel, Sha256]


class PackageSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The packages that one command line needs. `python` is the version that the wheels are for, as in 3.11."""

    python: Annotated[str, Meta(pattern=r"\A(?:3\.[0-9]{1,2})?\Z")] = ""
    npm: tuple[NpmPackage, ...] = ()
    pypi: tuple[PypiPackage, ...] = ()


class LockedTool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tool as its server described it; schemas are JSON with sorted keys."""

    name: str
    description: str
    input_schema: str
    output_schema: str = ""


class LockedSkill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A skill as it was locked.

    Attributes:
        command: Its command line in the configuration, or its endpoint as the only word.
        image: The image that it asks for, if any.
        packages: Which packages it has; empty for a command that is there without any.
        program: The file of these packages that is started.
    """

    command: tuple[str, ...]
    image: str = ""
    packages: str = ""
    program: Program = ""
    tools: tuple[LockedTool, ...] = ()


class LockedExpert(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The locked skills of an Expert, by name."""

    skills: dict[str, LockedSkill]


class Lock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole lock file."""

    version: str = VERSION
    packages: dict[str, PackageSet] = {}
    experts: dict[str, LockedExpert] = {}

    def skill(self, expert: str, name: str) -> LockedSkill | None:
        """What the skill is held to, or None when it is not locked."""
        found = self.experts.get(expert)
        return found.skills.get(name) if found else None


def lock_path(directory: Path) -> Path:
    """Where the lock of the project in `directory` is."""
    return directory / FILE_NAME


def read_lock(path: Path) -> Lock | None:
    """The lock in the file, or None where there is no file.

    Raises:
        UserError: It is there and cannot be used; a run never goes on as if there was none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(LONGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    if len(data) > LONGEST:
        raise UserError(f"{path} is longer than {LONGEST} bytes, which no lock is.", hint=AGAIN)
    try:
        return parse_lock(data)
    except ValueError as error:
        raise UserError(f"{path} cannot be used: {error}.", hint=AGAIN) from None


def parse_lock(data: bytes) -> Lock:
    """The lock that `data` holds.

    Raises:
        ValueError: It holds none; says what is wrong where.
    """
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if table.get("version") != VERSION:
        raise ValueError(f"it is of version {table.get('version')!r}, and this perstack reads version {VERSION!r}")
    try:
        lock = msgspec.convert(table, Lock)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from None
    _check(lock)
    return lock


def _check(lock: Lock) -> None:
    for key, packages in lock.packages.items():
        if bool(packages.npm) == bool(packages.pypi):
            raise ValueError(f"packages {key!r} are of no kind, or of two")
        if packages.pypi and not packages.python:
            raise ValueError(f"packages {key!r} name no version of Python")
        places = [package.path for package in packages.npm] or [_plain(package.name) for package in packages.pypi]
        if len(set(places)) != len(places):
            raise ValueError(f"packages {key!r} name a package twice")
    for expert, locked in lock.experts.items():
        for name, skill in locked.skills.items():
            place = f"skill {name!r} of {expert!r}"
            if skill.packages and (skill.packages not in lock.packages or not skill.program):
                raise ValueError(f"{place} has packages or a program that are not there")
            if len({tool.name for tool in skill.tools}) != len(skill.tools):
                raise ValueError(f"{place} has a tool twice")
            for tool in skill.tools:
                if not all(map(_is_object, (tool.input_schema, tool.output_schema or "{}"))):
                    raise ValueError(f"{place} has a tool {tool.name!r} whose schema is no JSON object")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def write_lock(path: Path, lock: Lock) -> None:
    """The file holds the lock: all of it or, when this fails, what it held before.

    Raises:
        UserError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(lock_text(lock), encoding="utf-8", newline="\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from None


def lock_text(lock: Lock) -> str:
    """The lock as TOML: the same bytes for the same lock."""
    return HEAD + f"version = {_quoted(lock.version)}\n" + "".join(f"{line}\n" for line in _lines(lock))


def _lines(lock: Lock) -> Iterator[str]:
    for key, packages in sorted(lock.packages.items()):
        table = f"packages.{_quoted(key)}"
        yield from ("", f"[{table}]")
        if packages.python:
            yield f"python = {_quoted(packages.python)}"
        for npm in sorted(packages.npm, key=lambda one: one.path):
            yield from ("", f"[[{table}.npm]]", *_fields(msgspec.to_builtins(npm)))
        for pypi in sorted(packages.pypi, key=lambda one: one.name):
            yield from ("", f"[[{table}.pypi]]", f"name = {_quoted(pypi.name)}", f"version = {_quoted(pypi.version)}")
            yield f"[{table}.pypi.wheels]"
            yield from (f"{_quoted(name)} = {_quoted(digest)}" for name, digest in sorted(pypi.wheels.items()))
    for expert, locked in sorted(lock.experts.items()):
        if not locked.skills:
            continue
        for name, skill in sorted(locked.skills.items()):
            table = f"experts.{_quoted(expert)}.skills.{_quoted(name)}"
            values = msgspec.to_builtins(skill)
            values.pop("tools", None)
            yield from ("", f"[{table}]", *_fields(values))
            for tool in sorted(skill.tools, key=lambda one: one.name):
                yield from ("", f"[[{table}.tools]]", *_fields(msgspec.to_builtins(tool)))


def _fields(values: Mapping[str, object]) -> Iterator[str]:
    for key, value in values.items():
        words = value if isinstance(value, list | tuple) else None
        yield f"{key} = {_quoted(value) if words is None else '[' + ', '.join(map(_quoted, words)) + ']'}"


def _quoted(value: object) -> str:
    """A TOML string. JSON's are the same but for one character that TOML wants escaped, and halves of characters."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
