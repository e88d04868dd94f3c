"""``perstack install``: packages fetched and locked, and the tools of every server written down.

What is locked already is fetched and compared; nothing else is chosen without being asked for. Servers are started to
list their tools: without a network, with placeholders for their variables, and with a workspace that is read-only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from perstack.errors import LockMismatch, SkillError
from perstack.ids import new_id
from perstack.locking.changes import accept_hint, locked_tools, named, package_changes, tool_changes
from perstack.locking.commands import command_changes, command_of, fetches, other_packages, with_packages
from perstack.locking.holding import Held, is_lockable
from perstack.locking.lockfile import Lock, LockedExpert, LockedSkill
from perstack.locking.sourcing import set_name
from perstack.locking.store import set_key
from perstack.policy.env import env_values
from perstack.redaction import Redactor
from perstack.sandbox.lease import LeaseContext, Transports, open_skills
from perstack.skill_policy import BUILT_IN

if TYPE_CHECKING:
    from perstack.locking.lockfile import LockedTool, PackageSet
    from perstack.locking.sourcing import Sources
    from perstack.policy.decide import ExpertPolicy
    from perstack.skill_policy import SkillPolicy
    from perstack.specs import Notify

PLACEHOLDER = "perstack-install"
"""Value of every variable that a skill asks for, while its tools are listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Installer:
    """One installation.

    Attributes:
        sources: Where packages come from and go to.
        plugins: Connects skills.
        held: The lock as it is.
        workspace: Shown to skills, read-only, while their tools are listed.
        update: Skills that may become something else than what is locked; None for all of them.
        trusted: Skills that get their variables already while their tools are listed.
        notify: Told what becomes of sandboxes.
    """

    sources: Sources
    plugins: Transports
    held: Held
    workspace: Path
    update: Collection[str] | None
    trusted: Collection[str]
    notify: Notify

    async def install(self, wanted_experts: Mapping[str, ExpertPolicy]) -> tuple[Lock, tuple[str, ...]]:
        """The lock that now holds, and what is new or different in it, as safe lines.

        Raises:
            LockMismatch: A skill that may not change is not what the lock says.
            SkillError: A skill cannot be installed; names it.
        """
        old = self.held.lock or Lock()
        sets = dict(old.packages)
        experts: dict[str, Mapping[str, LockedSkill]] = {key: each.skills for key, each in old.experts.items()}
        said: list[str] = []
        for key, expert in wanted_experts.items():
            wanted = [policy for policy in expert.skills if is_lockable(policy)]
            ready = {policy.skill: await self._ready(policy, sets, said) for policy in wanted}
            tools = await self._tools([policy for policy, _ in ready.values()])
            now = {name: msgspec.structs.replace(locked, tools=tools[name]) for name, (_, locked) in ready.items()}
            for policy in wanted:
                said += self._compared(policy, now[policy.skill])
            experts[key] = now
        used = {skill.packages for skills in experts.values() for skill in skills.values()}
        lock = Lock(
            packages={name: packages for name, packages in sets.items() if name in used},
            experts={key: LockedExpert(skills=dict(skills)) for key, skills in experts.items() if skills},
        )
        return lock, tuple(said)

    async def _ready(
        self, policy: SkillPolicy, sets: dict[str, PackageSet], said: list[str]
    ) -> tuple[SkillPolicy, LockedSkill]:
        """The skill with its packages on this machine, and what the lock says of it, but for its tools."""
        plain = LockedSkill(command=command_of(policy), image=policy.image or "")
        if not fetches(policy):
            return policy, plain
        held, sources = self._unchanged(policy), self.sources
        async with sources.source(policy) as source:
            if held is not None:
                name, file = held.packages, held.program
            else:
                name = set_name(policy)
                sources.say(f"{policy.skill}: resolving {name}")
                found, file = await source.resolve()
                said += package_changes(sets[name], found) if name in sets else ()
                sets[name] = found
            if lines := other_packages(policy, sets[name], file):
                raise LockMismatch(named(policy), lines, hint=accept_hint(policy))
            key = set_key(sets[name], sources.machine)
            directory = sources.store.find(key)
            if directory is None or sources.store.changes(key):
                directory = await source.fill(sets[name], key, name)
        if not (directory / file).is_file():
            raise SkillError(f"The packages of skill {policy.skill!r} have no command {file!r}.")
        started = with_packages(policy, sets[name], directory, file, sources.spec)
        return started, msgspec.structs.replace(plain, packages=name, program=file)

    def _unchanged(self, policy: SkillPolicy) -> LockedSkill | None:
        """What the skill is held to, unless it may become something else."""
        locked = self.held.of(policy)
        if locked is None or self._may_change(policy) or command_changes(policy, locked) or not locked.packages:
            return None
        return locked

    def _may_change(self, policy: SkillPolicy) -> bool:
        return self.update is None or policy.skill in self.update

    def _compared(self, policy: SkillPolicy, now: LockedSkill) -> tuple[str, ...]:
        """What is different in a skill that may change, or is new."""
        was = self.held.of(policy)
        name = f"skill {policy.skill!r} of {policy.expert!r}"
        if was is None:
            return (f"{name} is new; tools: {len(now.tools)}",)
        if changed := command_changes(policy, was):
            return (f"{name}:", *(f"  {line}" for line in changed))
        lines = tool_changes(was.tools, now.tools)
        if lines and not self._may_change(policy):
            raise LockMismatch(named(policy), lines, hint=accept_hint(policy))
        return (f"{name}:", *(f"  {line}" for line in lines)) if lines else ()

    async def _tools(self, policies: list[SkillPolicy]) -> dict[str, tuple[LockedTool, ...]]:
        """The tools of these skills of one Expert."""
        shown = [self._while_listed(policy) for policy in policies]
        run_id = new_id()
        context = LeaseContext(
            runtime=self.sources.runtime,
            runtime_name=self.sources.spec.name,
            registry=self.plugins,
            workspace=self.workspace,
            job_id=run_id,
            run_id=run_id,
            notify=self.notify,
        )
        env = {policy.skill: self._values(policy) for policy in shown}
        if policies:
            self.sources.say(f"{policies[0].expert}: listing the tools of {len(policies)} skills")
        async with open_skills(shown, env=env, context=context) as skills:
            tools = {name: locked_tools(skill.session.tools) for name, skill in skills.items()}
        for policy in shown:
            _check_no_secret(policy, env[policy.skill], tools[policy.skill])
        return tools

    def _while_listed(self, policy: SkillPolicy) -> SkillPolicy:
        """The skill as it is started to list its tools."""
        mounts = tuple(replace(mount, mode="ro") for mount in policy.mounts)
        egress = policy.egress if policy.endpoint else ()
        return replace(policy, mounts=mounts, egress=egress, lazy=False, allow_sampling=False, allow_elicitation=False)

    def _values(self, policy: SkillPolicy) -> dict[str, str]:
        """Its variables: real ones for the user's own choice of skills, and for servers that already have them."""
        if policy.skill in self.trusted or policy.endpoint:
            return env_values(policy, self.sources.host_env)
        values = {grant.name: PLACEHOLDER for grant in policy.env}
        ours = replace(policy, env=tuple(grant for grant in policy.env if grant.origin == BUILT_IN))
        return {**values, **env_values(ours, self.sources.host_env)}


def _check_no_secret(policy: SkillPolicy, values: Mapping[str, str], tools: Collection[LockedTool]) -> None:
    """None of the skill's own values stands in its tools, since others read the lock.

    Raises:
        SkillError: One does; names its variable.
    """
    text = msgspec.json.encode(tools)
    for grant in policy.env:
        value = values.get(grant.name, PLACEHOLDER)
        if grant.secret and value != PLACEHOLDER and Redactor({grant.name: value}).json(text) != text:
            raise SkillError(
                f"Skill {policy.skill!r} says the value of {grant.name} in what it tells of its tools. "
                "Nothing was locked, because a lock is for others to read.",
                hint="Do not run this skill with a real secret before you know why it tells it.",
            )
