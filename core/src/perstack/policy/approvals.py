"""The configuration's own say in tool calls: ``[[approvals]]``, beside what plugins say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from perstack.messages import JsonValue
from perstack.specs import ToolVerdict

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.config.models import ApprovalRule
    from perstack.messages import ToolCall
    from perstack.plugins.registry import Registry
    from perstack.specs import MiddlewareSpec, ToolView


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalRules:
    """The rules of one file, in its order. The first that fits decides."""

    source: str
    rules: tuple[ApprovalRule, ...]

    def verdict(self, call: ToolCall, tool: ToolView) -> ToolVerdict | None:
        """The file's say, or None when no rule fits."""
        for rule in self.rules:
            if _fits(rule, call, tool):
                said = rule.reason or f"calls of {rule.skill}:{rule.tool} are to {rule.decision}"
                return ToolVerdict(decision=rule.decision, reason=said)
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reviewers:
    """Everyone who has a say in tool calls: each configuration file, and every plugin. The strictest say holds."""

    files: tuple[ApprovalRules, ...]
    registry: Registry

    @property
    def middleware(self) -> tuple[MiddlewareSpec, ...]:
        """Layers around calls that plugins offer."""
        return self.registry.middleware

    def review(self, call: ToolCall, tool: ToolView) -> tuple[tuple[str, ToolVerdict], ...]:
        """Each opinion with the name of who holds it."""
        own = tuple((file.source, verdict) for file in self.files if (verdict := file.verdict(call, tool)))
        return (*own, *self.registry.review(call, tool))


def reviewers(loaded: Loaded, registry: Registry) -> Reviewers:
    """The reviewers of a run. Rules of different files never mix, so that none can answer before another's."""
    by_file: dict[str, list[ApprovalRule]] = {}
    for position, rule in enumerate(loaded.project.approvals):
        by_file.setdefault(loaded.origins.at("approvals", position).source, []).append(rule)
    files = tuple(ApprovalRules(source=source, rules=tuple(rules)) for source, rules in by_file.items())
    return Reviewers(files=files, registry=registry)


def _fits(rule: ApprovalRule, call: ToolCall, tool: ToolView) -> bool:
    return (
        fnmatchcase(tool.skill, rule.skill)
        and fnmatchcase(tool.name, rule.tool)
        and all(_argument_fits(call.args, name, pattern) for name, pattern in rule.args.items())
    )


def _argument_fits(args: Mapping[str, JsonValue], name: str, pattern: str) -> bool:
    """Whether the argument, or one item of it when it is a list, fits; one that is absent fits only ``*``."""
    value = args.get(name)
    items: Sequence[JsonValue] = value if isinstance(value, list) else [value]
    texts = [item if isinstance(item, str) else "" if item is None else str(item) for item in items]
    return any(fnmatchcase(text, pattern) for text in texts) or pattern == "*"
