"""Skills are held to the lock: before a run what is started, at its start the packages, at the handshake the tools."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from anyio import to_thread

from perstack.errors import LockMismatch, PolicyError
from perstack.locking.changes import locked_tools, safe_lines, tool_changes
from perstack.locking.lockfile import FILE_NAME, lock_path, read_lock
from perstack.locking.store import FOLDER, Store, set_key
from perstack.paths import cache_dir
from perstack.policy.base_skill import BUNDLED
from perstack.policy.packages import launch, program
from perstack.policy.packages import packages as packages_of
from perstack.protocols import SkillTool
from perstack.skill_policy import Mount, Origin

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.locking.lockfile import Lock, LockedSkill, PackageSet
    from perstack.policy.decide import Decision
    from perstack.skill_policy import SkillPolicy
    from perstack.specs import RuntimeSpec

LAUNCHERS = frozenset({"npx", "uvx"})
"""Whose packages can be locked."""
MODULES = "node_modules/"
ORIGIN = Origin(source=FILE_NAME)
ELF = b"\x7fELF"
"""How a program for Linux begins; whatever else a package starts is for its interpreter."""
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def machine() -> str:
    """The kind of this machine, in the kernel's words."""
    found = platform.machine().lower()
    return _MACHINES.get(found, found)


def is_lockable(policy: SkillPolicy) -> bool:
    """Whether a server of somebody else's stands behind the skill."""
    bundled = policy.argv[: len(BUNDLED)] == BUNDLED
    return policy.kind != "interactiveSkill" and not bundled


def fetches(policy: SkillPolicy) -> bool:
    """Whether its command line fetches packages when it is started."""
    return bool(policy.argv) and program(policy.argv) in LAUNCHERS


def command_of(policy: SkillPolicy) -> tuple[str, ...]:
    """What the configuration says is started, or where it is."""
    return policy.argv or (policy.endpoint,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """The lock of a project, as runs on this machine are held to it. Without a lock file nothing is held.

    Attributes:
        lock: The lock file's content, or None.
        store: Where packages are on this machine.
        machine: The kind of machine that sandboxes run on.
    """

    lock: Lock | None
    store: Store
    machine: str

    def decision(self, decision: Decision, spec: RuntimeSpec) -> Decision:
        """`decision` with each locked skill's command being a file of its packages.

        Raises:
            PolicyError: A skill is not locked and has to be, or its packages are not on this machine.
            LockMismatch: The configuration says something else than what was locked.
        """
        experts = {
            key: replace(expert, skills=tuple(self._skill(policy, spec) for policy in expert.skills))
            for key, expert in decision.experts.items()
        }
        return replace(decision, experts=experts)

    def _skill(self, policy: SkillPolicy, spec: RuntimeSpec) -> SkillPolicy:
        if not is_lockable(policy):
            return policy
        locked = self.of(policy)
        if locked is None:
            if self.lock is not None or (fetches(policy) and "network" in spec.claims):
                raise NotLocked(policy)
            return policy
        check_command(policy, locked)
        if self.lock is None or not locked.packages:
            return policy
        packages = self.lock.packages[locked.packages]
        if lines := other_packages(policy, packages, locked.program):
            raise LockMismatch(_named(policy), lines, hint=accept_hint(policy))
        found = self.store.find(set_key(packages, self.machine))
        if found is None:
            raise NotInstalled(policy)
        return with_packages(policy, packages, found, locked.program, spec)

    def only(self, experts: Collection[str]) -> Held:
        """The same without what is locked of Experts that are not there any more."""
        if self.lock is None:
            return self
        kept = {key: expert for key, expert in self.lock.experts.items() if key in experts}
        return replace(self, lock=msgspec.structs.replace(self.lock, experts=kept))

    def of(self, policy: SkillPolicy) -> LockedSkill | None:
        """What the skill is held to, or None."""
        return self.lock.skill(policy.expert, policy.skill) if self.lock is not None else None

    def tools(self, policy: SkillPolicy) -> tuple[SkillTool, ...] | None:
        """The tools that the skill must have, or None when nothing says so."""
        locked = self.of(policy) if is_lockable(policy) else None
        return unlocked_tools(locked) if locked is not None else None

    def package_count(self, policy: SkillPolicy) -> int:
        """How many packages the skill is locked to, as the configuration starts it now."""
        locked = self.of(policy)
        if self.lock is None or locked is None or not locked.packages or command_changes(policy, locked):
            return 0
        packages = self.lock.packages[locked.packages]
        return len(packages.npm) + len(packages.pypi)

    async def check_packages(self, policy: SkillPolicy) -> None:
        """Every file of the skill's packages is what it was when it was compared with the lock.

        Raises:
            LockMismatch: One is not; names it.
        """
        if policy.packages is None:
            return
        changes = await to_thread.run_sync(self.store.changes, policy.packages.host.name)
        if changes:
            hint = "Something changed installed files. Install them again with: perstack install --update"
            raise LockMismatch(f"An installed package of skill {policy.skill!r}", safe_lines(changes), hint=hint)

    def check_tools(self, policy: SkillPolicy, tools: Sequence[SkillTool]) -> None:
        """The skill has the tools that it was locked with, word by word.

        Raises:
            LockMismatch: It does not; shows the difference.
        """
        locked = self.of(policy) if is_lockable(policy) else None
        if locked is not None and (lines := tool_changes(locked.tools, locked_tools(tools))):
            raise LockMismatch(_named(policy), lines, hint=accept_hint(policy))


def project_lock(loaded: Loaded, environ: Mapping[str, str]) -> Held:
    """The lock of a project on this machine.

    Args:
        loaded: The project.
        environ: The process's own variables; a file of the project says nothing about where packages are.

    Raises:
        UserError: There is a lock file that cannot be used.
    """
    store = Store(cache_dir(environ) / FOLDER)
    return Held(lock=read_lock(lock_path(loaded.directory)), store=store, machine=machine())


class NotLocked(PolicyError):
    """A skill that has to be locked and is not."""

    def __init__(self, policy: SkillPolicy) -> None:
        self.policy = policy
        super().__init__(
            f"{_named(policy)} is not in {FILE_NAME}, so nothing says what it may be.",
            hint=f"Install and lock it with: perstack install {shlex.quote(policy.expert)}",
        )


class NotInstalled(PolicyError):
    """A locked skill whose packages are not on this machine."""

    def __init__(self, policy: SkillPolicy) -> None:
        self.policy = policy
        super().__init__(
            f"The packages of skill {policy.skill!r} of {policy.expert!r} are locked and not on this machine.",
            hint=f"Fetch them with: perstack install {shlex.quote(policy.expert)}",
        )


def check_command(policy: SkillPolicy, locked: LockedSkill) -> None:
    """The configuration starts what was locked.

    Raises:
        LockMismatch: It starts something else.
    """
    if lines := command_changes(policy, locked):
        raise LockMismatch(_named(policy), lines, hint=accept_hint(policy))


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
        raise PolicyError(f"Runtime {spec.name!r} takes no locked packages, and {_named(policy)} has some.")
    target = spec.packages_at(directory)
    if target == str(directory) and sys.platform != "linux":
        raise PolicyError(
            f"The packages of {_named(policy)} are locked for Linux.", hint="Choose a runtime with containers."
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


def accept_hint(policy: SkillPolicy) -> str:
    """The command that accepts what is different."""
    words = shlex.join([policy.expert, "--update", policy.skill])
    return f"If you want this, accept it with: perstack install {words}"


def _named(policy: SkillPolicy) -> str:
    return f"Skill {policy.skill!r} of {policy.expert!r}"
