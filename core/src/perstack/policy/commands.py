"""The command line that a skill's declaration means."""

from __future__ import annotations

from perstack.config.skills import StdioSkill


def argv(skill: StdioSkill) -> tuple[str, ...]:
    """Command and arguments. `npx` gets ``-y``: nobody is there to answer its question."""
    arguments = (skill.package_name,) if skill.package_name is not None else skill.args
    if skill.command == "npx" and not {"-y", "--yes"}.intersection(arguments):
        arguments = ("-y", *arguments)
    return (skill.command, *arguments)
