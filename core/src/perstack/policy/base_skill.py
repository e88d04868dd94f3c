"""The skill that every Expert has, and what is started for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from perstack.config.skills import BASE_SKILL, SkillConfig, StdioSkill

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


def argv(replacement: Sequence[str] | None, skill: StdioSkill) -> tuple[str, ...]:
    """What is started: `replacement`, the operator's own, or the bundled server with the configuration's policy."""
    if replacement:
        return tuple(replacement)
    options = _options(skill)
    return (*BUNDLED, "--policy", options) if options else BUNDLED


def _options(skill: StdioSkill) -> str:
    """What the configuration says of files and bounds, as the server reads it; empty if it says nothing."""
    if not {"files", "bounds"} & skill.model_fields_set:
        return ""
    policy = {
        "writable": skill.files.writable,
        "readable": skill.files.readable,
        "bounds": skill.bounds.model_dump(by_alias=True, exclude_none=True),
    }
    return json.dumps({name: value for name, value in policy.items() if value})
