"""Which variables a skill sees: the safe ones that the host has, and those that it asks for and may have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from perstack_proxy.envnames import SAFE_NAMES, is_valid_name, protected_reason

from perstack.config.environment import HostEnv
from perstack.errors import ConfigError, Problem
from perstack.skill_policy import BUILT_IN, Control, EnvGrant, Origin, SkillPolicy
from perstack.specs import EnvRule, ProviderSpec

PROXY_NAMES = frozenset(SAFE_NAMES[5:])
"""Safe names that say where traffic goes; where a runtime enforces the network, it sets them itself."""

PLACE_NAMES = frozenset({"PATH", "HOME", "SHELL", "NODE_PATH"})
"""Safe names that hold paths of the host; in a file system of its own, a skill has that one's."""

PROVIDER_KEYS = frozenset(
    {
        "ANTHROPIC_API_KEY",
        "AZURE_API_KEY",
        "DEEPSEEK_API_KEY",
        "GOOGLE_GENERATIVE_AI_API_KEY",
        "OPENAI_API_KEY",
        "PERSTACK_API_KEY",
    }
)
"""Keys of the original's providers. They are refused whether or not a plugin for them is installed, so that the same
file gets the same verdict everywhere; installed providers add theirs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A variable that a skill asks for."""

    name: str
    source: str
    origin: Origin
    description: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvVerdict:
    """What became of the requests: grants, or the problems for which nothing is granted."""

    grants: tuple[EnvGrant, ...]
    problems: tuple[Problem, ...] = ()


def provider_keys(providers: Iterable[ProviderSpec]) -> frozenset[str]:
    """Variables whose values are keys of model providers."""
    return PROVIDER_KEYS.union(*(spec.secret_env for spec in providers))


def decide_env(
    requests: Sequence[Request],
    *,
    rules: Sequence[tuple[str, EnvRule]],
    claims: Collection[Control],
    host_names: Collection[str],
    refused_keys: Collection[str],
) -> EnvVerdict:
    """Everything that a skill sees. Protected beats deny, deny beats a request, and what nobody asked for is absent.

    Args:
        requests: What the skill asks for.
        rules: Rules of plugins, by plugin; an allow adds nothing to the requests.
        claims: Controls of the runtime: safe names that it sets itself are left to it.
        host_names: Names that have a value on the host.
        refused_keys: Keys of model providers that the user has not allowed.
    """
    ours = (PROXY_NAMES if "network" in claims else frozenset()) | (
        PLACE_NAMES if "filesystem" in claims else frozenset()
    )
    grants = {
        name: EnvGrant(name=name, source=name, origin=BUILT_IN)
        for name in SAFE_NAMES
        if name in host_names and name not in ours and _denied(name, name, rules) is None
    }
    problems = []
    for request in requests:
        problem = _refusal(request, rules, refused_keys)
        if problem:
            problems.append(problem)
        elif request.name not in ours:
            grants[request.name] = EnvGrant(
                name=request.name,
                source=request.source,
                origin=request.origin,
                secret=request.source not in SAFE_NAMES,
                description=request.description,
            )
    return EnvVerdict(grants=tuple(grants[name] for name in sorted(grants)), problems=tuple(problems))


def env_values(policy: SkillPolicy, host_env: HostEnv) -> dict[str, str]:
    """The value of each variable that the skill sees.

    Raises:
        ConfigError: Some have none; names the skill and each of them.
    """
    values = {grant.name: host_env.values.get(grant.source, "") for grant in policy.env}
    missing = [grant for grant in policy.env if not values[grant.name]]
    if missing:
        raise ConfigError(
            [
                Problem(
                    message=f"the skill {policy.skill!r} needs the variable {grant.source!r}, and it has no value",
                    where=grant.origin.source,
                    line=grant.origin.line,
                    hint=f"Set {grant.source} in the environment or in an env file.",
                )
                for grant in missing
            ]
        )
    return values


def _refusal(request: Request, rules: Sequence[tuple[str, EnvRule]], refused_keys: Collection[str]) -> Problem | None:
    reason = protected_reason(request.name)
    if not is_valid_name(request.name) or not is_valid_name(request.source):
        return _problem(request, f"{request.name!r} is not a variable's name")
    if reason:
        return _problem(request, f"{request.name} is a protected name: it {reason}")
    denied = _denied(request.name, request.source, rules)
    if denied:
        return _problem(request, denied)
    if request.source in refused_keys:
        return _problem(
            request,
            f"{request.source} is the key of a model provider",
            f'Give the skill a key of its own: {{ name = "{request.name}", from = "ANOTHER_NAME" }}; or list the name '
            "in allowProviderKeys under [policy] in your own settings.",
        )
    return None


def _denied(name: str, source: str, rules: Sequence[tuple[str, EnvRule]]) -> str | None:
    for plugin, rule in rules:
        if rule.action == "deny" and (fnmatchcase(name, rule.name) or fnmatchcase(source, rule.name)):
            return f"plugin {plugin!r} denies the variable {source}: {rule.reason}"
    return None


def _problem(request: Request, message: str, hint: str = "") -> Problem:
    return Problem(message=message, where=request.origin.source, line=request.origin.line, hint=hint)
