"""What a proof says: for each control of each skill a verdict, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from perstack.skill_policy import CONTROLS

if TYPE_CHECKING:
    from collections.abc import Collection

    from perstack.skill_policy import Control, SkillPolicy

Verdict = Literal["proved", "failed", "unknown", "not claimed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one attack says of one control. Evidence is one line without secrets, and sanitised where it is shown."""

    control: Control
    attack: str
    verdict: Literal["proved", "failed", "unknown"]
    evidence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlProof:
    """A control of one skill. One failed attack fails it, and it is proved only where every attack could tell."""

    control: Control
    verdict: Verdict
    required: bool
    findings: tuple[Finding, ...] = ()

    @property
    def evidence(self) -> str:
        """What the verdict rests on."""
        deciding = [one.evidence for one in self.findings if one.verdict == self.verdict]
        return "; ".join(dict.fromkeys(deciding))

    @property
    def broken(self) -> bool:
        """The control does not hold, or nobody could tell and the policy requires it."""
        return self.verdict == "failed" or (self.required and self.verdict != "proved")


@dataclass(frozen=True, kw_only=True, slots=True)
class SkillProof:
    """All controls of one skill. `sandbox` is empty for a skill that has none."""

    expert: str
    skill: str
    sandbox: str
    seconds: float
    controls: tuple[ControlProof, ...]

    @property
    def broken(self) -> tuple[Control, ...]:
        """The controls that do not hold."""
        return tuple(proof.control for proof in self.controls if proof.broken)


def control_proofs(
    policy: SkillPolicy, claimed: Collection[Control], findings: Sequence[Finding]
) -> tuple[ControlProof, ...]:
    """A verdict for every control; what is not claimed is not judged."""
    return tuple(_proof(policy, control, claimed, findings) for control in CONTROLS)


def _proof(
    policy: SkillPolicy, control: Control, claimed: Collection[Control], findings: Iterable[Finding]
) -> ControlProof:
    required = control in policy.required
    if control not in claimed:
        return ControlProof(control=control, verdict="not claimed", required=required)
    own = tuple(one for one in findings if one.control == control)
    verdict: Verdict = "proved"
    if any(one.verdict == "failed" for one in own):
        verdict = "failed"
    elif not own or any(one.verdict == "unknown" for one in own):
        verdict = "unknown"
    return ControlProof(control=control, verdict=verdict, required=required, findings=own)
