"""Skills are held to the lock: before a run what is started, at its start the packages, at the handshake the tools."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
from anyio import to_thread

from perstack.errors import LockMismatch, PolicyError
from perstack.locking.changes import accept_hint, locked_tools, named, safe_lines, tool_changes, unlocked_tools
from perstack.locking.commands import command_changes, fetches, other_packages, with_packages
from perstack.locking.lockfile import FILE_NAME, lock_path, read_lock
from perstack.locking.store import FOLDER, Store, set_key
from perstack.paths import cache_dir
from perstack.policy.base_skill import BUNDLED

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.locking.lockfile import Lock, LockedSkill
    from perstack.policy.decide import Decision
    from perstack.protocols import SkillTool
    from perstack.skill_policy import SkillPolicy
    from perstack.specs import RuntimeSpec

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def machine() -> str:
    """The kind of this machine, in the kernel's words."""
    found = platform.machine().lower()
    return _MACHINES.get(found, found)


def is_lockable(policy: SkillPolicy) -> bool:
    """Whether a server of somebody else's stands behind the skill."""
    bundled = policy.argv[: len(BUNDLED)] == BUNDLED
    return policy.kind != "interactiveSkill" and not bundled


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
        if lines := command_changes(policy, locked):
            raise LockMismatch(named(policy), lines, hint=accept_hint(policy))
        if self.lock is None or not locked.packages:
            return policy
        packages = self.lock.packages[locked.packages]
        if lines := other_packages(policy, packages, locked.program):
            raise LockMismatch(named(policy), lines, hint=accept_hint(policy))
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
            raise LockMismatch(named(policy), lines, hint=accept_hint(policy))


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
            f"{named(policy)} is not in {FILE_NAME}, so nothing says what it may be.",
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
