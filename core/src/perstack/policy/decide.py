"""What every skill of an Expert and of its delegates may do, decided once and frozen.

A pure function of the configuration, the plugins' rules and the runtime's claims. It names variables and never reads
their values, but for whether there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from perstack.config import grammar, headers
from perstack.config.environment import HostEnv
from perstack.config.loading import Loaded
from perstack.config.models import ExpertConfig
from perstack.config.problems import unknown_expert
from perstack.config.skills import BASE_SKILL, McpSkill, RemoteSkill, SkillConfig, StdioSkill
from perstack.errors import ConfigError, ControlsMissing, PolicyError, Problem
from perstack.policy import base_skill, commands, env, files
from perstack.policy.egress import EgressVerdict, decide_egress
from perstack.policy.limits import decide_limits, required_controls
from perstack.skill_policy import BUILT_IN, Control, EgressGrant, FileGrant, HeaderGrant, Origin, SkillPolicy
from perstack.specs import EgressTarget, EnvTarget, RuntimeSpec

if TYPE_CHECKING:
    from perstack.plugins.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertPolicy:
    """An Expert with the policies of its skills; the base skill is first."""

    expert: ExpertConfig
    skills: tuple[SkillPolicy, ...]

    @property
    def key(self) -> str:
        """The Expert's key."""
        return self.expert.key


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """All that a run may do.

    Attributes:
        root: Key of the Expert that was asked for.
        runtime: Name of the runtime that starts the skills.
        claims: Controls that it enforces where the host allows it.
        experts: The Expert and every Expert that it can delegate to, by key.
    """

    root: str
    runtime: str
    claims: frozenset[Control]
    experts: Mapping[str, ExpertPolicy]

    @property
    def skills(self) -> tuple[SkillPolicy, ...]:
        """The policies of all skills of all Experts."""
        return tuple(skill for expert in self.experts.values() for skill in expert.skills)


def decide(
    loaded: Loaded,
    expert_key: str,
    *,
    registry: Registry,
    runtime_spec: RuntimeSpec,
    workspace: Path,
    extra_env: Sequence[str] = (),
) -> Decision:
    """The policy of every skill that the Expert and its delegates can start.

    Args:
        loaded: The configuration.
        expert_key: The Expert that is asked for.
        registry: Plugins, whose rules can only take away.
        runtime_spec: The runtime that will start the skills.
        workspace: Host directory of the run, resolved.
        extra_env: ``--env`` names, which every skill of the Expert itself gets.

    Raises:
        ConfigError: An Expert is not declared, or is broken; carries every problem of all of them.
        PolicyError: Something is asked for that is not allowed; names all of it.
        ControlsMissing: The runtime does not claim what is required.
    """
    experts = closure(loaded, expert_key)
    policies, problems = verdicts(
        loaded,
        experts,
        registry=registry,
        runtime_spec=runtime_spec,
        workspace=workspace,
        extra_env={expert_key: tuple(extra_env)},
    )
    if problems:
        raise PolicyError("\n".join(str(problem) for problem in problems), hint="Nothing was started.")
    decision = Decision(root=expert_key, runtime=runtime_spec.name, claims=runtime_spec.claims, experts=policies)
    for policy in decision.skills:
        missing = policy.required - runtime_spec.claims
        if missing:
            raise ControlsMissing(
                runtime=runtime_spec.name, skill=policy.skill, missing=tuple(missing), hint=_narrowed(policy)
            )
    return decision


def verdicts(
    loaded: Loaded,
    experts: Sequence[ExpertConfig],
    *,
    registry: Registry,
    runtime_spec: RuntimeSpec,
    workspace: Path,
    extra_env: Mapping[str, Sequence[str]] | None = None,
) -> tuple[dict[str, ExpertPolicy], tuple[Problem, ...]]:
    """The policies of these Experts by key, and everything that they ask for and may not have.

    With a single problem none of the policies may be used; `decide` holds to that.

    Raises:
        PolicyError: A plugin failed to give its rules.
    """
    decider = _Decider(loaded=loaded, registry=registry, runtime=runtime_spec, workspace=workspace)
    policies = {}
    problems: list[Problem] = []
    for expert in experts:
        skills = []
        for name, skill in _skills(expert):
            policy, found = decider.skill(expert, name, skill, (extra_env or {}).get(expert.key, ()))
            skills.append(policy)
            problems += found
        policies[expert.key] = ExpertPolicy(expert=expert, skills=tuple(skills))
    return policies, tuple(problems)


def secret_values(decision: Decision, host_env: HostEnv, provider_env: Mapping[str, str]) -> dict[str, str]:
    """Every secret that the run knows, by the host's name for it: the provider's and those that skills get."""
    secrets = {name: value for name, value in provider_env.items() if value}
    for policy in decision.skills:
        for grant in policy.env:
            if grant.secret and host_env.values.get(grant.source):
                secrets[grant.source] = host_env.values[grant.source]
    return secrets


def closure(loaded: Loaded, key: str) -> tuple[ExpertConfig, ...]:
    """The Expert and every Expert that it can delegate to, directly or through others, each one once.

    Raises:
        ConfigError: One of them is not declared, or is broken; carries the problems of all.
    """
    found: dict[str, ExpertConfig] = {}
    problems: list[Problem] = []
    waiting: list[tuple[str, Origin | None]] = [(key, None)]
    seen = set()
    while waiting:
        wanted, origin = waiting.pop(0)
        if wanted in seen:
            continue
        seen.add(wanted)
        expert = loaded.project.experts.get(wanted)
        if expert is None:
            place = origin or Origin(source=str(loaded.path))
            known = {*loaded.project.experts, *loaded.broken}
            problems += loaded.broken.get(wanted) or (unknown_expert(wanted, known, place),)
            continue
        found[wanted] = expert
        waiting += [
            (delegate, loaded.origins.at("experts", wanted, "delegates", position))
            for position, delegate in enumerate(expert.delegates)
        ]
    if problems:
        raise ConfigError(problems)
    return tuple(found.values())


def _skills(expert: ExpertConfig) -> Iterator[tuple[str, SkillConfig]]:
    yield BASE_SKILL, expert.skills.get(BASE_SKILL) or base_skill.supplied()
    yield from ((name, skill) for name, skill in expert.skills.items() if name != BASE_SKILL)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decider:
    """What stays the same from skill to skill."""

    loaded: Loaded
    registry: Registry
    runtime: RuntimeSpec
    workspace: Path

    def skill(
        self, expert: ExpertConfig, name: str, skill: SkillConfig, extra_env: Sequence[str]
    ) -> tuple[SkillPolicy, tuple[Problem, ...]]:
        """The policy of one skill, and what of its wishes is not allowed."""
        origin = self._origin(expert, name)
        egress = self._egress(expert, name, skill)
        if isinstance(skill, RemoteSkill):
            return self._remote(expert, name, skill, egress)
        if not isinstance(skill, StdioSkill):
            return SkillPolicy(expert=expert.key, skill=name, kind=skill.kind, origin=origin), ()
        requests = self._requests(expert, name, skill, extra_env)
        variables = self._env(expert, name, requests)
        settings = self.loaded.project.policy
        limits, too_much = decide_limits(skill.limits, settings.limits, self._origin(expert, name, "limits"))
        mount = files.workspace_mount(
            self.workspace,
            [
                (settings.workspace_mode, self.loaded.origins.at("policy", "workspaceMode")),
                (skill.workspace_mode, self._origin(expert, name, "workspaceMode")),
            ],
        )
        bundled = base_skill.is_bundled(name, skill)
        replacement = self.loaded.project.perstack_base_skill_command
        policy = SkillPolicy(
            expert=expert.key,
            skill=name,
            kind=skill.kind,
            origin=origin,
            argv=base_skill.argv(replacement, skill) if bundled else commands.argv(skill),
            image=skill.image,
            env=variables.grants,
            egress=egress.grants,
            mounts=(mount,),
            files=self._files(expert, name, skill) if bundled and not replacement else (),
            limits=limits,
            required=required_controls(self.runtime.name, settings, mount.mode),
            timeout=_seconds(skill),
            lazy=skill.lazy_init and not bundled,
            allow_sampling=skill.allow_sampling,
            allow_elicitation=skill.allow_elicitation,
        )
        return policy, _located(expert, name, (*variables.problems, *egress.problems, *too_much))

    def _files(self, expert: ExpertConfig, name: str, skill: StdioSkill) -> tuple[FileGrant, ...]:
        """What is opened to the bundled base skill; nothing is told to what the operator starts in its place."""
        opened: tuple[tuple[Literal["change", "read"], str, Sequence[str]], ...] = (
            ("change", "writable", skill.files.writable),
            ("read", "readable", skill.files.readable),
        )
        return tuple(
            FileGrant(access=access, pattern=pattern, origin=self._origin(expert, name, "files", key, position))
            for access, key, patterns in opened
            for position, pattern in enumerate(patterns)
        )

    def _remote(
        self, expert: ExpertConfig, name: str, skill: RemoteSkill, egress: EgressVerdict
    ) -> tuple[SkillPolicy, tuple[Problem, ...]]:
        """The policy of a skill that runs elsewhere. Only the variables that its headers name leave this machine."""
        sent = [
            HeaderGrant(name=header, template=template, origin=self._origin(expert, name, "headers", header))
            for header, template in skill.headers.items()
        ]
        requests = [
            env.Request(name=variable, source=variable, origin=header.origin, description=f"sent as {header.name}")
            for header in sent
            for variable in headers.variables(header.template)
        ]
        variables = self._env(expert, name, requests)
        wanted = {request.name for request in requests}
        policy = SkillPolicy(
            expert=expert.key,
            skill=name,
            kind=skill.kind,
            origin=self._origin(expert, name),
            endpoint=skill.endpoint,
            headers=tuple(sent),
            env=tuple(grant for grant in variables.grants if grant.name in wanted),
            egress=egress.grants,
            timeout=_seconds(skill),
            allow_sampling=skill.allow_sampling,
            allow_elicitation=skill.allow_elicitation,
        )
        return policy, _located(expert, name, (*variables.problems, *egress.problems))

    def _requests(
        self, expert: ExpertConfig, name: str, skill: StdioSkill, extra_env: Sequence[str]
    ) -> list[env.Request]:
        requests = [
            env.Request(
                name=entry.name,
                source=entry.host_name,
                origin=self._origin(expert, name, "requiredEnv", position),
                description=entry.description,
            )
            for position, entry in enumerate(skill.required_env)
        ]
        return requests + [env.Request(name=extra, source=extra, origin=Origin(source="--env")) for extra in extra_env]

    def _env(self, expert: ExpertConfig, name: str, requests: Sequence[env.Request]) -> env.EnvVerdict:
        target = EnvTarget(
            expert=expert.key, skill=name, requested=tuple(dict.fromkeys(request.name for request in requests))
        )
        keys = env.provider_keys(self.registry.providers.values())
        return env.decide_env(
            requests,
            rules=self.registry.env_rules(target),
            claims=self.runtime.claims,
            host_names=self.loaded.host_env.values.keys(),
            refused_keys=keys.difference(self.loaded.project.policy.allow_provider_keys),
        )

    def _egress(self, expert: ExpertConfig, name: str, skill: SkillConfig) -> EgressVerdict:
        if isinstance(skill, RemoteSkill):
            host = grammar.url_domain(skill.endpoint)
            asked = [(host, self._origin(expert, name, "endpoint"))] if host else []
        else:
            domains = skill.allowed_domains if isinstance(skill, McpSkill) else ()
            asked = [(each, self._origin(expert, name, "allowedDomains", at)) for at, each in enumerate(domains)]
        requested = [EgressGrant(pattern=pattern, origin=origin) for pattern, origin in asked]
        target = EgressTarget(expert=expert.key, skill=name, requested=tuple(pattern for pattern, _ in asked))
        return decide_egress(requested, rules=self.registry.egress_rules(target))

    def _origin(self, expert: ExpertConfig, name: str, *rest: str | int) -> Origin:
        if name not in expert.skills:
            return BUILT_IN
        return self.loaded.origins.at("experts", expert.key, "skills", name, *rest)


def _narrowed(policy: SkillPolicy) -> str:
    """Who narrowed the skill's workspace, if anyone did."""
    narrow = [mount for mount in policy.mounts if mount.mode != "rw"]
    return "".join(
        f"{mount.origin} asks for the workspace as {mount.mode!r}: choose docker or podman." for mount in narrow
    )


def _seconds(skill: McpSkill) -> float | None:
    return None if skill.timeout is None else skill.timeout / 1000


def _located(expert: ExpertConfig, name: str, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(replace(problem, key=f"skill {name!r} of {expert.key!r}") for problem in problems)
