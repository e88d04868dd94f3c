"""A decision as people and programs read it: every entry with its origin, and no value of any variable."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from perstack_proxy.limits import MIB

from perstack.messages import JsonObject
from perstack.policy.decide import Decision, ExpertPolicy
from perstack.skill_policy import CONTROLS, EgressGrant, EnvGrant, FileGrant, Limits, Mount, SkillPolicy


def as_json(decision: Decision) -> JsonObject:
    """The decision as JSON; origins are ``FILE:LINE``, ``plugin NAME``, an option or ``built-in``."""
    return {
        "expert": decision.root,
        "runtime": decision.runtime,
        "notEnforced": [control for control in CONTROLS if control not in decision.claims],
        "experts": [_expert(expert) for expert in decision.experts.values()],
    }


def as_text(decision: Decision) -> Iterator[str]:
    """The decision, line by line."""
    yield f"Expert {decision.root!r} on the runtime {decision.runtime!r}"
    missing = [control for control in CONTROLS if control not in decision.claims]
    if missing:
        yield f"Not enforced by it: {', '.join(missing)}"
    for expert in decision.experts.values():
        yield ""
        yield f"{expert.key} (delegates: {', '.join(expert.expert.delegates) or 'none'})"
        for policy in expert.skills:
            yield f"  {policy.skill}  [{policy.kind}, {policy.origin}]"
            yield from (f"    {name:<9} {text}" for name, text in _lines(policy))


def _lines(policy: SkillPolicy) -> Iterator[tuple[str, str]]:
    if policy.argv:
        yield "command", shlex.join(policy.argv)
    if policy.packages is not None:
        yield "packages", f"{policy.packages.host} at {policy.packages.target} ro  [{policy.packages.origin}]"
    if policy.endpoint:
        yield "endpoint", policy.endpoint
    yield from _manners(policy)
    if policy.image:
        yield "image", policy.image
    for grant in policy.env:
        came = "" if grant.source == grant.name else f" from {grant.source}"
        said = f": {grant.description}" if grant.description else ""
        yield "env", f"{grant.name}{came}{said}  [{grant.origin}]"
    if not policy.env:
        yield "env", "none"
    for domain in policy.egress:
        yield "domain", f"{domain.pattern}  [{domain.origin}]"
    if policy.argv and not policy.egress:
        yield "domain", "none"
    for mount in policy.mounts:
        yield "mount", f"{mount.host} at {mount.target} {mount.mode}  [{mount.origin}]"
    for file in policy.files:
        yield "files", f"may {file.access} {file.pattern}  [{file.origin}]"
    if policy.argv:
        limits = policy.limits
        size = f"{limits.memory // MIB} MiB ({limits.memory_reserved // MIB} MiB reserved)"
        yield "limits", f"{size}, {limits.cpus:g} CPUs, {limits.pids} processes  [{limits.origin}]"
        yield "requires", ", ".join(control for control in CONTROLS if control in policy.required) or "nothing"


def _manners(policy: SkillPolicy) -> Iterator[tuple[str, str]]:
    for header in policy.headers:
        yield "header", f"{header.name}: {header.template}  [{header.origin}]"
    if policy.timeout is not None:
        yield "timeout", f"{policy.timeout:g} s for one call"
    if policy.lazy:
        yield "start", "with its first call, once its tools are known"
    if asks := asked_of(policy):
        yield "asks", " and ".join(asks)


def asked_of(policy: SkillPolicy) -> tuple[str, ...]:
    """Whom the skill's server may ask back."""
    asked = ((policy.allow_sampling, "the run's model"), (policy.allow_elicitation, "the person at the terminal"))
    return tuple(who for allowed, who in asked if allowed)


def _expert(expert: ExpertPolicy) -> JsonObject:
    return {
        "key": expert.key,
        "version": expert.expert.version,
        "delegates": list(expert.expert.delegates),
        "skills": [_skill(policy) for policy in expert.skills],
    }


def _skill(policy: SkillPolicy) -> JsonObject:
    return {
        "name": policy.skill,
        "type": policy.kind,
        "origin": str(policy.origin),
        "argv": list(policy.argv),
        "packages": _mount(policy.packages) if policy.packages is not None else None,
        "endpoint": policy.endpoint,
        "headers": {header.name: header.template for header in policy.headers},
        "timeout": policy.timeout,
        "lazy": policy.lazy,
        "asks": list(asked_of(policy)),
        "image": policy.image,
        "env": [_env(grant) for grant in policy.env],
        "egress": [_egress(grant) for grant in policy.egress],
        "mounts": [_mount(mount) for mount in policy.mounts],
        "files": [_file(grant) for grant in policy.files],
        "limits": _limits(policy.limits) if policy.argv else None,
        "required": [control for control in CONTROLS if control in policy.required],
    }


def _env(grant: EnvGrant) -> JsonObject:
    return {
        "name": grant.name,
        "from": grant.source,
        "secret": grant.secret,
        "description": grant.description,
        "origin": str(grant.origin),
    }


def _egress(grant: EgressGrant) -> JsonObject:
    return {"pattern": grant.pattern, "origin": str(grant.origin)}


def _file(grant: FileGrant) -> JsonObject:
    return {"access": grant.access, "pattern": grant.pattern, "origin": str(grant.origin)}


def _mount(mount: Mount) -> JsonObject:
    return {"host": str(mount.host), "target": mount.target, "mode": mount.mode, "origin": str(mount.origin)}


def _limits(limits: Limits) -> JsonObject:
    return {
        "memory": limits.memory,
        "memoryReserved": limits.memory_reserved,
        "cpus": limits.cpus,
        "pids": limits.pids,
        "origin": str(limits.origin),
    }
