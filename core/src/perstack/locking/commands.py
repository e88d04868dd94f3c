"""The command lines of locked skills: what of them the lock decides, and what they become with their packages."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.errors import PolicyError
from perstack.locking.changes import named, safe_lines
from perstack.locking.lockfile import FILE_NAME
from perstack.policy.packages import launch, program
from perstack.policy.packages import packages as packages_of
from perstack.skill_policy import Mount, Origin

if TYPE_CHECKING:
    from perstack.locking.lockfile import LockedSkill, PackageSet
    from perstack.skill_policy import SkillPolicy
    from perstack.specs import RuntimeSpec

LAUNCHERS = frozenset({"npx", "uvx"})
"""Whose packages can be locked."""
MODULES = "node_modules/"
ORIGIN = Origin(source=FILE_NAME)
ELF = b"\x7fELF"
"""How a program for Linux begins; whatever else a package starts is for its interpreter."""


def fetches(policy: SkillPolicy) -> bool:
    """Whether its command line fetches packages when it is started."""
    return bool(policy.argv) and program(policy.argv) in LAUNCHERS


def command_of(policy: SkillPolicy) -> tuple[str, ...]:
    """What the configuration says is started, or where it is."""
    return policy.argv or (policy.endpoint,)


def command_changes(policy: SkillPolicy, locked: LockedSkill) -> tuple[str, ...]:
    """How the configuration differs from what was locked."""
    pairs = (
        ("command" if policy.argv else "endpoint", shlex.join(locked.command), shlex.join(command_of(policy))),
        ("image", locked.image, policy.image or ""),
    )
    return safe_lines(
        line for name, was, now in pairs if was != now for line in (f"{name}:", f"  - {was}", f"  + {now}")
    )


def other_packages(policy: SkillPolicy, packages: PackageSet, file: str) -> tuple[str, ...]:
    """What of the command line the packages do not hold: a lock from elsewhere may name one thing and hold another."""
    from perstack.locking import npm, pypi  # what reads a registry's pages, which a run without packages does not need

    held = {one.path.removeprefix(MODULES): (one.name, one.version) for one in packages.npm}
    held |= {pypi.normal(one.name): (pypi.normal(one.name), one.version) for one in packages.pypi}
    named = {}
    for package in packages_of(policy.argv) or ():
        name = npm.name_of(package.spec) if packages.npm else pypi.normal(pypi.bare_name(package.spec))
        named[name] = package.version
    wrong = [
        f"package {name} {version or ''} is not among what is locked"
        for name, version in named.items()
        if held.get(name, ("", ""))[0] != name or not _fits(version, held[name][1], exact=bool(packages.pypi))
    ]
    places = tuple(f"{MODULES}{name}/" for name in named) if packages.npm else ("bin/",)
    if not file.startswith(places):
        wrong.append(f"program {file} is of no package that the command names")
    return safe_lines(wrong)


def _fits(asked: str | None, locked: str, *, exact: bool) -> bool:
    """Whether a version is the one that was asked for. Without `exact`, what has less than three parts is a range."""
    from packaging.version import InvalidVersion, Version

    if asked is None or (not exact and asked.count(".") < 2):
        return True
    try:
        return asked.removeprefix("v") == locked or Version(asked) == Version(locked)
    except InvalidVersion:
        return False


def with_packages(
    policy: SkillPolicy, packages: PackageSet, directory: Path, file: str, spec: RuntimeSpec
) -> SkillPolicy:
    """The skill, started from its packages in `directory`.

    Raises:
        PolicyError: This runtime cannot start them.
    """
    if spec.packages_at is None:
        raise PolicyError(f"Runtime {spec.name!r} takes no locked packages, and {named(policy)} has some.")
    target = spec.packages_at(directory)
    if target == str(directory) and sys.platform != "linux":
        raise PolicyError(
            f"The packages of {named(policy)} are locked for Linux.", hint="Choose a runtime with containers."
        )
    interpreter: tuple[str, ...] = (f"python{packages.python}", "-I") if packages.pypi else ("node",)
    if _is_machine_code(directory / file):
        interpreter = ()
    found = launch(policy.argv)
    args = found[1].args if found else ()
    mount = Mount(host=directory, target=target, mode="ro", origin=ORIGIN)
    return replace(policy, argv=(*interpreter, f"{target}/{file}", *args), packages=mount)


def _is_machine_code(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(ELF)) == ELF
    except OSError:
        return False
