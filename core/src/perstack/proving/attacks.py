"""What an attack is: a program that runs inside, what it is told, and how its report is judged from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

from perstack.proving.findings import Finding

if TYPE_CHECKING:
    from pathlib import Path

    from perstack.messages import JsonObject, JsonValue
    from perstack.proving.outside import Host
    from perstack.skill_policy import Control, SkillPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One skill that is put to the proof.

    Attributes:
        number: Names the skill where its own name could hold anything.
        policy: Its decided policy.
        values: Values of its variables.
        environ: All variables of the host; their values go nowhere.
        workspace: Host directory of the run.
        brief: Leave out what loads the machine.
        blocked: Domains of which the gate has told that it blocked them, as they become known.
    """

    number: int
    policy: SkillPolicy
    values: Mapping[str, str] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    workspace: Path
    host: Host
    brief: bool
    blocked: set[str] = field(default_factory=set)

    @property
    def mark(self) -> str:
        """The host's mark as this skill's program shows it."""
        return self.host.marked(self.number)


VERDICTS: Mapping[bool | None, Literal["proved", "failed", "unknown"]] = {
    True: "proved",
    False: "failed",
    None: "unknown",
}
Judgement = Iterator[tuple["Control", bool | None, str]]
"""Control, whether it holds (None: cannot be told), and the evidence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: The function in the module `program` of `perstack.proving.inside`.
        controls: What it can tell of.
        seconds: The longest that it may take.
        arguments: What the function is called with; nothing secret.
        judge: What its report means.
        applies: Whether it makes sense for a policy.
        free: Whether it gets through, and does no harm, on a host where nothing holds it.
    """

    name: str
    program: str
    controls: tuple[Control, ...]
    arguments: Callable[[Case], JsonObject]
    judge: Callable[[Case, JsonObject], Judgement]
    seconds: float = 10.0
    applies: Callable[[SkillPolicy], bool] = lambda _: True
    free: Callable[[], bool] = lambda: True

    def source(self, case: Case) -> str:
        """A program that leaves the report in the variable ``result``."""
        text = (files("perstack.proving.inside") / f"{self.program}.py").read_text(encoding="utf-8")
        return f"{text}\nresult = {self.name}(**{self.arguments(case)!r})\n"

    def findings(self, case: Case, report: JsonObject) -> tuple[Finding, ...]:
        """What the report says of each control; one that makes no sense says nothing of any."""
        try:
            judged = tuple(self.judge(case, report))
        except (KeyError, TypeError, ValueError) as error:
            return self.cannot_tell(f"its report makes no sense: {type(error).__name__} {error}")
        return tuple(
            Finding(control=control, attack=self.name, verdict=VERDICTS[holds], evidence=evidence)
            for control, holds, evidence in judged
        )

    def cannot_tell(self, reason: str) -> tuple[Finding, ...]:
        """The attack could not be made, so it says nothing."""
        return tuple(
            Finding(control=control, attack=self.name, verdict="unknown", evidence=f"{self.name}: {reason}")
            for control in self.controls
        )


def texts(report: JsonObject, name: str) -> list[str]:
    """A list of words in a report.

    Raises:
        TypeError: It is none.
    """
    value = report[name]
    if not isinstance(value, list):
        raise TypeError(name)
    return [str(item) for item in value]


def number(value: JsonValue) -> int:
    """A whole number in a report; bool is none.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a number was expected")
    return value


def listed(words: list[str]) -> str:
    """The first few, for a line of evidence."""
    shown = ", ".join(words[:3])
    return shown if len(words) <= 3 else f"{shown} and {len(words) - 3} more"
