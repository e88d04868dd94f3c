"""The proof of a project's boundary: by itself, or before a run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread
from perstack_proxy.sanitise import sanitise_line

from perstack.errors import ControlsBroken
from perstack.events import ProveBoundary
from perstack.ids import new_id
from perstack.journal.files import local_state_dir
from perstack.launch.overlay import has_overlay
from perstack.launch.plan import egress_settings
from perstack.policy.env import env_values
from perstack.proving.prove import PROOF_SECONDS, ProofContext, prove
from perstack.proving.sweeper import sweeper
from perstack.sandbox.lease import check_works
from perstack.specs import RuntimeContext

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.engine.recorder import Recorder
    from perstack.events import Event
    from perstack.launch.plan import RunPlan
    from perstack.plugins.registry import Registry
    from perstack.policy.decide import Decision
    from perstack.protocols import Runtime
    from perstack.proving.findings import SkillProof
    from perstack.skill_policy import SkillPolicy
    from perstack.specs import RuntimeSpec


async def prove_project(  # noqa: PLR0913 - all by name
    decisions: Sequence[Decision],
    *,
    loaded: Loaded,
    registry: Registry,
    runtime_spec: RuntimeSpec,
    workspace: Path,
    state_dir: Path,
    brief: bool = False,
    seconds: float = PROOF_SECONDS,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[SkillProof, ...]:
    """What holds for every skill of every Expert that was decided on, each one once.

    Args:
        decisions: What runs would be given.
        loaded: The configuration that they come from.
        registry: Its plugins.
        runtime_spec: The runtime; the proof makes one of its own.
        workspace: Host directory of the run, resolved.
        state_dir: The user's state directory.
        brief: Leave out what loads the machine.
        seconds: The longest that all of it may take; what was not tried by then is unknown.
        progress: Told what is about to be tried.

    Raises:
        ConfigError: A variable has no value.
        PolicyError: A run would be refused.
        SandboxError: The runtime does not work here.
    """
    experts = {expert.key: expert for decision in decisions for expert in decision.experts.values()}
    env = {
        key: {policy.skill: env_values(policy, loaded.host_env) for policy in expert.skills}
        for key, expert in experts.items()
    }

    def runtime(policies: tuple[SkillPolicy, ...], notify: Callable[[Event], None]) -> Runtime:
        made = RuntimeContext(
            run_id=new_id(),
            job_id=new_id(),
            state_dir=place,
            notify=notify,
            policies=policies,
            egress=egress_settings(loaded.project),
        )
        return runtime_spec.factory(made)

    # What a sandbox changes in a copy of the workspace is thrown away with this directory.
    with sweeper() as kept, kept.directory(Path(tempfile.gettempdir()), "perstack-proof-") as place:
        await check_works(runtime_spec.name, runtime((), lambda _: None))
        copied = any(map(has_overlay, decisions))
        context = ProofContext(
            runtime=runtime,
            runtime_name=runtime_spec.name,
            claims=runtime_spec.claims,
            registry=registry,
            workspace=workspace,
            state_dir=state_dir,
            sweeper=kept,
            copy=await to_thread.run_sync(_copy, workspace, place) if copied else None,
            environ=loaded.host_env.values,
            brief=brief,
            seconds=seconds,
            progress=progress,
        )
        return await prove(tuple(experts.values()), env=env, context=context)


def _copy(workspace: Path, place: Path) -> Path:
    """A copy of the workspace, as a job gets one, that is thrown away."""
    from perstack.staging.copies import About, Copies, sandbox_owner

    job = new_id()
    about = About(id=job, job=job, workspace=str(workspace), purpose="overlay")
    copy = Copies(place).make(about, sandbox_owner(workspace))
    copy.close()
    return copy.workspace


async def prove_run(plan: RunPlan, recorder: Recorder) -> None:
    """Every claim of the run's runtime held a moment ago, for each of its skills; that is on record.

    Raises:
        ControlsBroken: Something did not, or nobody could tell of something that is required; names it.
    """
    started = time.monotonic()
    proofs = await prove_project(
        [plan.decision],
        loaded=plan.loaded,
        registry=plan.registry,
        runtime_spec=plan.runtime,
        workspace=plan.request.workspace,
        state_dir=local_state_dir(plan.request.state_dir),
        brief=True,
    )
    broken = {_name(proof): proof.broken for proof in proofs if proof.broken}
    recorder.record(
        ProveBoundary(
            **recorder.stamp(recorder.job_id),
            runtime=plan.runtime.name,
            ok=not broken,
            duration_ms=round((time.monotonic() - started) * 1000),
            verdicts={_name(proof): {one.control: one.verdict for one in proof.controls} for proof in proofs},
            broken=tuple(
                sanitise_line(f"{_name(proof)}: {one.control}: {one.evidence}")
                for proof in proofs
                for one in proof.controls
                if one.broken
            ),
        )
    )
    if broken:
        raise ControlsBroken(runtime=plan.runtime.name, broken=broken)


def _name(proof: SkillProof) -> str:
    return f"{proof.expert} / {proof.skill}"
