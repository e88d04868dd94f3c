"""The skill that every Expert has, and what is started for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from perstack.config.models import BASE_SKILL, SkillConfig, StdioSkill

BUNDLED = (sys.executable, "-E", "-P", "-m", "perstack_skill_base")
"""No variable and nothing in the working directory, which is the workspace, decides what Python imports."""


def is_bundled(name: str, skill: SkillConfig) -> bool:
    """Whether the bundled server stands in: the exact name, the original's package, and no version of it pinned."""
    if name != BASE_SKILL or not isinstance(skill, StdioSkill) or skill.command != "npx":
        return False
    words = [skill.package_name] if skill.package_name else [arg for arg in skill.args if not arg.startswith("-")]
    return words == [BASE_SKILL]


def supplied() -> StdioSkill:
    """The declaration that stands in where an Expert has none."""
    return StdioSkill.model_construct(type=StdioSkill.kind, command="npx", package_name=BASE_SKILL)


def argv(replacement: Sequence[str] | None) -> tuple[str, ...]:
    """What is started: `replacement`, the operator's own, or the bundled server."""
    return tuple(replacement) if replacement else BUNDLED
