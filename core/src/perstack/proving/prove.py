"""A hostile program in place of each skill, in the sandbox that the skill would have, and what it could do there."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec

from perstack.errors import PerstackError
from perstack.events import ProxyAccess
from perstack.proving import load, network, place, rights
from perstack.proving.attacks import Attack, Case
from perstack.proving.findings import Finding, SkillProof, control_proofs
from perstack.proving.outside import outside
from perstack.sandbox.lease import ConnectedSkill, LeaseContext, open_skills

if TYPE_CHECKING:
    from perstack.events import Event
    from perstack.messages import JsonObject
    from perstack.policy.decide import ExpertPolicy
    from perstack.protocols import Runtime
    from perstack.proving.sweeper import Sweeper
    from perstack.sandbox.lease import Transports
    from perstack.skill_policy import Control, SkillPolicy

ATTACKS: tuple[Attack, ...] = (*place.ATTACKS, *rights.ATTACKS, *network.ATTACKS, *load.ATTACKS)
"""In this order: those come last that load the sandbox."""

AT_ONCE = 4
"""Sandboxes that are attacked at the same time; more of them would only wait for each other."""
SANDBOX_SECONDS = 40.0
"""For all attacks on one sandbox; those that are left then have told nothing."""
PROOF_SECONDS = 600.0
"""For everything, opening the sandboxes included, unless the person says otherwise; what is left has told nothing."""
LATE = "there was no time left"
AUDIT_SECONDS = 2.0
"""For the gate's record of a request to arrive."""
TOOL = "python"
"""The probe's tool that runs a program."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProofContext:
    """What a proof works with.

    Attributes:
        runtime: Makes the runtime, given the policies that it may be asked to start and where its events go.
        claims: What the runtime claims.
        workspace: Host directory of the run, resolved.
        state_dir: The user's state directory, which no sandbox may see.
        sweeper: Removes what the proof makes outside of the sandboxes.
        copy: What skills with an overlay see in the place of the workspace, or None where there is none.
        environ: All variables of the host.
        brief: Leave out what loads the machine.
        seconds: The longest that all of it may take.
        progress: Told of each skill that is about to be tried.
    """

    runtime: Callable[[tuple[SkillPolicy, ...], Callable[[Event], None]], Runtime]
    runtime_name: str
    claims: frozenset[Control]
    registry: Transports
    workspace: Path
    state_dir: Path
    sweeper: Sweeper
    copy: Path | None
    environ: Mapping[str, str] = field(repr=False)
    brief: bool = False
    seconds: float = PROOF_SECONDS
    progress: Callable[[str], None] = lambda _: None


async def prove(
    experts: Collection[ExpertPolicy], *, env: Mapping[str, Mapping[str, Mapping[str, str]]], context: ProofContext
) -> tuple[SkillProof, ...]:
    """What holds for each skill of each Expert, in their order.

    Args:
        experts: Decided policies.
        env: Values of each skill's variables, by Expert and skill.
        context: What the proof works with.

    Raises:
        PolicyError: A sandbox does not enforce what its policy requires; a run would be refused, too.
        SandboxError: A sandbox could not be opened.
        SkillError: The probe did not answer.
    """
    blocked: set[str] = set()

    def notify(event: Event) -> None:
        if isinstance(event, ProxyAccess) and event.action == "blocked":
            blocked.add(event.domain)

    command = _probe(own_files="filesystem" in context.claims)
    probes = {
        expert.key: tuple(
            replace(policy, kind="mcpStdioSkill", argv=command, lazy=False) for policy in expert.skills if policy.argv
        )
        for expert in experts
    }
    lease = LeaseContext(
        runtime=context.runtime(tuple(chain.from_iterable(probes.values())), notify),
        runtime_name=context.runtime_name,
        registry=context.registry,
        workspace=context.workspace,
        job_id="prove",
        run_id="prove",
        notify=notify,
        copy=context.copy,
    )
    numbers, deadline = count(1), anyio.current_time() + context.seconds
    found: list[SkillProof] = []
    async with outside(_baits(context), context.sweeper) as host:
        for expert in experts:
            cases = [
                Case(
                    number=next(numbers),
                    policy=policy,
                    values=env[expert.key][policy.skill],
                    environ=context.environ,
                    workspace=context.workspace,
                    host=host,
                    brief=context.brief,
                    blocked=blocked,
                )
                for policy in expert.skills
            ]
            proofs = {case.policy.skill: _untried(case.policy, context.claims) for case in cases}
            with anyio.move_on_at(deadline):
                await _expert(cases, probes[expert.key], lease, context.progress, proofs)
            found += proofs.values()
    return tuple(found)


def _baits(context: ProofContext) -> list[Path]:
    """Where there is something to find that no skill may see."""
    places = (Path(tempfile.gettempdir()).resolve(), context.state_dir.resolve())
    return [place for place in places if not place.is_relative_to(context.workspace)]


async def _expert(
    cases: Sequence[Case],
    probes: Sequence[SkillPolicy],
    lease: LeaseContext,
    progress: Callable[[str], None],
    proofs: dict[str, SkillProof],
) -> None:
    """Puts the proof of each of one Expert's skills into `proofs` as it is there."""
    env = {case.policy.skill: case.values for case in cases}
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def attack(case: Case, skill: ConnectedSkill) -> None:
        async with limiter:
            progress(f"{case.policy.expert} / {case.policy.skill} on {lease.runtime_name}")
            proofs[case.policy.skill] = await _skill(case, skill)

    async with open_skills(probes, env=env, context=lease) as skills, anyio.create_task_group() as tasks:
        for case in cases:
            if case.policy.skill in skills:
                tasks.start_soon(attack, case, skills[case.policy.skill])


def _probe(*, own_files: bool) -> tuple[str, ...]:
    """The command of the hostile probe. Its program is an argument: nothing has to be in the sandbox but a Python."""
    program = (files("perstack.testing") / "probe.py").read_text(encoding="utf-8")
    return ("python3" if own_files else sys.executable, "-I", "-c", program)


def _untried(policy: SkillPolicy, claims: frozenset[Control]) -> SkillProof:
    """Of a skill with a sandbox nothing is known before it was tried. Of one that runs elsewhere nothing is claimed."""
    claimed = claims if policy.argv else frozenset()
    findings = [finding for each in _applying(policy, claimed) for finding in each.cannot_tell(LATE)]
    return SkillProof(
        expert=policy.expert,
        skill=policy.skill,
        sandbox="",
        seconds=0.0,
        controls=control_proofs(policy, claimed, findings),
    )


async def _skill(case: Case, skill: ConnectedSkill) -> SkillProof:
    started = time.monotonic()
    claimed = skill.sandbox.enforced if skill.sandbox is not None else frozenset()
    findings: list[Finding] = []
    deadline = started + SANDBOX_SECONDS
    for each in _applying(case.policy, claimed):
        left = deadline - time.monotonic()
        findings += await _made(each, case, skill, left) if left > 0 else each.cannot_tell(LATE)
    return SkillProof(
        expert=case.policy.expert,
        skill=case.policy.skill,
        sandbox=skill.sandbox.id if skill.sandbox is not None else "",
        seconds=round(time.monotonic() - started, 3),
        controls=control_proofs(case.policy, claimed, findings),
    )


def _applying(policy: SkillPolicy, claimed: frozenset[Control]) -> Iterator[Attack]:
    return (each for each in ATTACKS if claimed.intersection(each.controls) and each.applies(policy))


async def _made(attack: Attack, case: Case, skill: ConnectedSkill, seconds: float) -> tuple[Finding, ...]:
    """What one attack found; one that could not be made has told nothing."""
    try:
        outcome = await skill.session.call(TOOL, {"source": attack.source(case)}, timeout=min(attack.seconds, seconds))
    except PerstackError as error:
        return attack.cannot_tell(str(error))
    text = "".join(getattr(part, "text", "") for part in outcome.contents)
    if outcome.is_error:
        return attack.cannot_tell(text[:200])
    try:
        report: JsonObject = msgspec.json.decode(text, type=dict)
    except msgspec.MsgspecError:
        return attack.cannot_tell("its report is no table of JSON")
    if attack.name == "forwarder":
        with anyio.move_on_after(AUDIT_SECONDS):
            while network.unlisted(case) not in case.blocked:  # noqa: ASYNC110 - events have no other end
                await anyio.sleep(0.02)
    return attack.findings(case, report)
