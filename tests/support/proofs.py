"""``perstack prove`` on the projects of tests, and what it said."""

from __future__ import annotations

from collections.abc import Mapping

from engines import SECONDS, Box
from perstack.testing.project import RunResult


def prove(
    box: Box,
    *options: str,
    runtime: str | None = None,
    env: Mapping[str, str] | None = None,
    expert: str | None = "box",
) -> RunResult:
    """A proof of one Expert or of all, with the box's engine unless another runtime is named."""
    place = ("--runtime", runtime or box.engine.name, "--workspace", str(box.workspace))
    words = ("prove", *([expert] if expert else []), *place, *options)
    return box.project.perstack(*words, env={**box.all_env, **(env or {})}, timeout=SECONDS)


def verdicts(report: Mapping) -> dict[str, dict[str, str]]:
    """The verdict on each control, by skill; skills of several Experts need names of their own."""
    return {
        skill["skill"]: {control["control"]: control["verdict"] for control in skill["controls"]}
        for skill in report["skills"]
    }


def untold(report: Mapping) -> list[str]:
    """What a proof could not show, a line for each attack; short enough for a failed test's message."""
    return [
        f"{skill['skill']}: {control['control']}: {attack['attack']}: {attack['verdict']}: {attack['evidence']}"
        for skill in report["skills"]
        for control in skill["controls"]
        for attack in control["attacks"]
        if attack["verdict"] != "proved"
    ]
