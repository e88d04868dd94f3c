"""A proof as people, programs and test reports read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from perstack_proxy.sanitise import sanitise_line

if TYPE_CHECKING:
    from perstack.messages import JsonObject, JsonValue
    from perstack.proving.findings import ControlProof, SkillProof, Verdict
    from perstack.terminal.output import Tone

TONES: dict[Verdict, Tone] = {"proved": "good", "failed": "bad", "unknown": "strong", "not claimed": "dim"}


def as_text(proofs: Sequence[SkillProof]) -> Iterator[tuple[str, Tone]]:
    """Safe lines, and how each one is meant."""
    for proof in proofs:
        where = f"sandbox {proof.sandbox[:12]}, {proof.seconds:.1f} s" if proof.sandbox else "no sandbox"
        yield sanitise_line(f"{proof.expert} / {proof.skill}  ({where})"), "strong"
        for control in proof.controls:
            evidence = f"  {control.evidence}" if control.evidence else ""
            line = f"  {control.control:<18} {control.verdict:<11}{evidence}"
            yield sanitise_line(line.rstrip()), TONES[control.verdict]
    counts = ", ".join(f"{count} {verdict}" for verdict, count in totals(proofs).items() if count)
    yield counts or "There is no skill to try.", "plain"


def as_json(proofs: Sequence[SkillProof], *, runtime: str, seconds: float) -> JsonObject:
    """The proof as JSON; `ok` says whether every claim held."""
    return {
        "runtime": runtime,
        "ok": not any(proof.broken for proof in proofs),
        "seconds": round(seconds, 3),
        "totals": {str(verdict): count for verdict, count in totals(proofs).items()},
        "skills": [
            {
                "expert": proof.expert,
                "skill": proof.skill,
                "sandbox": proof.sandbox,
                "seconds": proof.seconds,
                "controls": [_control(control) for control in proof.controls],
            }
            for proof in proofs
        ],
    }


def _control(proof: ControlProof) -> JsonValue:
    return {
        "control": proof.control,
        "verdict": proof.verdict,
        "required": proof.required,
        "attacks": [
            {"attack": one.attack, "verdict": one.verdict, "evidence": sanitise_line(one.evidence)}
            for one in proof.findings
        ],
    }


def as_junit(proofs: Sequence[SkillProof], *, runtime: str) -> bytes:
    """The proof as JUnit XML: a suite for each skill, a case for each control."""
    suites = ET.Element("testsuites", name=f"perstack prove on {sanitise_line(runtime)}")
    for proof in proofs:
        kinds = [control.verdict for control in proof.controls]
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=sanitise_line(f"{proof.expert} / {proof.skill}"),
            tests=str(len(kinds)),
            failures=str(sum(control.broken for control in proof.controls)),
            errors="0",
            skipped=str(sum(not control.broken and control.verdict != "proved" for control in proof.controls)),
            time=f"{proof.seconds:.3f}",
        )
        for control in proof.controls:
            case = ET.SubElement(suite, "testcase", classname=f"perstack.prove.{runtime}", name=control.control)
            words = sanitise_line(control.evidence)
            if control.broken:
                ET.SubElement(case, "failure", message=f"{control.verdict}: {words}")
            elif control.verdict != "proved":
                ET.SubElement(case, "skipped", message=f"{control.verdict}: {words}" if words else control.verdict)
            else:
                ET.SubElement(case, "system-out").text = words
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document


def totals(proofs: Sequence[SkillProof]) -> dict[Verdict, int]:
    """How many controls have each verdict."""
    verdicts = [control.verdict for proof in proofs for control in proof.controls]
    return {verdict: verdicts.count(verdict) for verdict in TONES}
