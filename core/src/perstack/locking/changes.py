"""What is different from the lock, in words that a person can read before they accept it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perstack_proxy.sanitise import encodable, sanitise_line

from perstack.locking.lockfile import LockedTool
from perstack.protocols import SkillTool

if TYPE_CHECKING:
    from perstack.locking.lockfile import LockedSkill, PackageSet
    from perstack.messages import JsonObject
    from perstack.skill_policy import SkillPolicy

LINE_CHARACTERS = 300
LINES = 80
"""Of one skill's differences; more than that is another program."""


def locked_tools(tools: Iterable[SkillTool]) -> tuple[LockedTool, ...]:
    """The tools as a lock keeps them, by name."""
    kept = (
        LockedTool(
            name=encodable(tool.name),
            description=encodable(tool.description),
            input_schema=_schema(tool.input_schema),
            output_schema=_schema(tool.output_schema) if tool.output_schema is not None else "",
        )
        for tool in tools
    )
    return tuple(sorted(kept, key=lambda tool: tool.name))


def _schema(schema: JsonObject) -> str:
    return encodable(json.dumps(schema, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def unlocked_tools(locked: LockedSkill) -> tuple[SkillTool, ...]:
    """The locked tools as a model is told of them."""
    return tuple(
        SkillTool(
            name=tool.name,
            description=tool.description,
            input_schema=json.loads(tool.input_schema),
            output_schema=json.loads(tool.output_schema) if tool.output_schema else None,
        )
        for tool in locked.tools
    )


def tool_changes(before: Sequence[LockedTool], now: Sequence[LockedTool]) -> tuple[str, ...]:
    """What came, went or changed, line by line; nothing where the tools are the same."""
    old, new = ({tool.name: tool for tool in tools} for tools in (before, now))
    return safe_lines(_tool_lines(old, new))


def _tool_lines(old: Mapping[str, LockedTool], new: Mapping[str, LockedTool]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        was, is_now = old.get(name), new.get(name)
        if was == is_now:
            continue
        if was is None or is_now is None:
            there = was or is_now
            sign, words = ("-", "is gone") if is_now is None else ("+", "is new")
            yield f"tool {name!r} {words}:"
            yield from (f"  {sign} {line}" for line in (there.description if there else "").splitlines())
            continue
        yield f"tool {name!r} changed:"
        yield from _part("description", was.description.splitlines(), is_now.description.splitlines())
        yield from _part("input schema", _pretty(was.input_schema), _pretty(is_now.input_schema))
        yield from _part("output schema", _pretty(was.output_schema), _pretty(is_now.output_schema))


def _part(title: str, was: list[str], now: list[str]) -> Iterator[str]:
    import difflib

    if was != now:
        yield f"  {title}:"
        yield from (f"  {line[:1]} {line[1:]}" for line in list(difflib.unified_diff(was, now, n=0, lineterm=""))[2:])


def _pretty(schema: str) -> list[str]:
    try:
        return json.dumps(json.loads(schema), indent=1, sort_keys=True, ensure_ascii=False).splitlines()
    except (ValueError, RecursionError):
        return schema.splitlines()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Package:
    """A locked package: its version, and its files with their hashes."""

    version: str
    hashes: tuple[tuple[str, str], ...]


def package_changes(before: PackageSet, now: PackageSet) -> tuple[str, ...]:
    """Which packages came, went, or have another version or another hash."""
    return safe_lines(_package_lines(_packages(before), _packages(now)))


def _packages(packages: PackageSet) -> dict[str, _Package]:
    """By what a person calls the package."""
    found = {
        one.path.removeprefix("node_modules/"): _Package(version=one.version, hashes=(("", one.integrity),))
        for one in packages.npm
    }
    return found | {
        one.name: _Package(version=one.version, hashes=tuple(sorted(one.wheels.items()))) for one in packages.pypi
    }


def _package_lines(old: Mapping[str, _Package], new: Mapping[str, _Package]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        was, is_now = old.get(name), new.get(name)
        if was is None and is_now is not None:
            yield f"package {name} {is_now.version} is new"
        elif is_now is None and was is not None:
            yield f"package {name} {was.version} is gone"
        elif was is not None and is_now is not None and was != is_now:
            yield from _version_lines(name, was, is_now)


def _version_lines(name: str, was: _Package, now: _Package) -> Iterator[str]:
    if was.version != now.version:
        yield f"package {name}: {was.version} became {now.version}"
        return
    yield f"package {name} {was.version} was published again with other content:"
    yield from (f"  - {' '.join(filter(None, each))}" for each in was.hashes if each not in now.hashes)
    yield from (f"  + {' '.join(filter(None, each))}" for each in now.hashes if each not in was.hashes)


def safe_lines(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines, each of them one safe line, and not too many."""
    safe = [sanitise_line(line, limit=LINE_CHARACTERS) for line in lines]
    return (*safe[:LINES], f"… and {len(safe) - LINES} more lines") if len(safe) > LINES else tuple(safe)


def accept_hint(policy: SkillPolicy) -> str:
    """The command that accepts what is different."""
    words = shlex.join([policy.expert, "--update", policy.skill])
    return f"If you want this, accept it with: perstack install {words}"


def named(policy: SkillPolicy) -> str:
    """A skill as sentences name it."""
    return f"Skill {policy.skill!r} of {policy.expert!r}"
