"""Which domains a skill may reach: those of its own list that no plugin denies. An empty list is no domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perstack_proxy.patterns import DomainPattern, PatternError, parse

from perstack.errors import PolicyError, Problem
from perstack.skill_policy import EgressGrant
from perstack.specs import EgressRule


@dataclass(frozen=True, kw_only=True, slots=True)
class EgressVerdict:
    """What became of the list: grants, or the problems for which nothing is granted."""

    grants: tuple[EgressGrant, ...]
    problems: tuple[Problem, ...] = ()


def decide_egress(requested: Sequence[EgressGrant], *, rules: Sequence[tuple[str, EgressRule]]) -> EgressVerdict:
    """Everything that a skill may reach. A denied domain refuses the start, because the skill was written to need it.

    Args:
        requested: The skill's own list.
        rules: Rules of plugins, by plugin; an allow adds nothing to the list.

    Raises:
        PolicyError: A rule's pattern is none, so nobody knows what the plugin would have denied.
    """
    denials = [(plugin, rule, _pattern(plugin, rule)) for plugin, rule in rules if rule.action == "deny"]
    problems = []
    for grant in requested:
        wanted = parse(grant.pattern, punycode=True)
        for plugin, rule, pattern in denials:
            if _overlap(wanted, pattern):
                message = f"plugin {plugin!r} denies the domain {grant.pattern}: {rule.reason}"
                problems.append(Problem(message=message, where=grant.origin.source, line=grant.origin.line))
                break
    return EgressVerdict(grants=tuple(requested), problems=tuple(problems))


def _overlap(one: DomainPattern, other: DomainPattern) -> bool:
    """Whether some host is covered by both."""
    if one.wildcard and other.wildcard:
        return _within(one.host, other.host) or _within(other.host, one.host)
    return one.matches(other.host) if one.wildcard else other.matches(one.host)


def _within(host: str, suffix: str) -> bool:
    return f".{host}".endswith(f".{suffix}")


def _pattern(plugin: str, rule: EgressRule) -> DomainPattern:
    try:
        return parse(rule.pattern, punycode=True, registry=True)
    except PatternError as error:
        raise PolicyError(f"Plugin {plugin!r} has a rule that means nothing: {error}. Nothing was started.") from None
