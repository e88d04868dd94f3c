"""The copy that a job's skills change in the place of the workspace: opened for a run, and kept after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import to_thread

from perstack.errors import UsageError
from perstack.journal.files import local_state_dir

if TYPE_CHECKING:
    from perstack.launch.plan import RunPlan
    from perstack.policy.decide import Decision
    from perstack.staging.attribution import Attribution
    from perstack.staging.copies import Copies, StagedCopy


def has_overlay(decision: Decision) -> bool:
    """Whether a skill of the run works on the job's copy."""
    return any(mount.mode == "overlay" for policy in decision.skills for mount in policy.mounts)


@asynccontextmanager
async def overlay(plan: RunPlan, job_id: str) -> AsyncIterator[Attribution | None]:
    """The job's copy, watched while skills change it, or None where none does. It stays when the run has ended.

    Raises:
        UsageError: The job has a copy and this run has another workspace, or none of its skills works on the copy.
        StagingError: The workspace cannot be copied, or another process uses the copy.
    """
    state_dir = local_state_dir(plan.request.state_dir)
    if not has_overlay(plan.decision) and not (state_dir / "changes").is_dir():
        yield None  # and nothing of this was imported
        return
    from perstack.staging.copies import Copies

    copies = Copies(state_dir)
    if not has_overlay(plan.decision):
        if copies.holds(job_id) and await to_thread.run_sync(_has_changes, copies, job_id):
            raise UsageError(
                f"Job {job_id!r} has changes that are neither applied nor dropped, and this run would not see them.",
                hint=f"See: perstack changes {job_id}; or go on in the copy with: --workspace-mode overlay",
            )
        yield None
        return
    from perstack.staging.attribution import Attribution

    copy = await to_thread.run_sync(_opened, plan, copies, job_id)
    try:
        attribution = await to_thread.run_sync(Attribution, copy)
        try:
            yield attribution
        finally:
            await attribution.finish()
    finally:
        copy.close()


def _has_changes(copies: Copies, job_id: str) -> bool:
    """Whether the job's copy is worth keeping; one without changes is dropped."""
    copy = copies.open(job_id)
    try:
        if changed := bool(copy.changes()):
            return changed
        copy.drop()
        return False
    finally:
        copy.close()


def _opened(plan: RunPlan, copies: Copies, job_id: str) -> StagedCopy:
    from perstack.staging.copies import About, sandbox_owner

    workspace = plan.request.workspace
    if not copies.holds(job_id):
        about = About(id=job_id, job=job_id, workspace=str(workspace), purpose="overlay")
        return copies.make(about, sandbox_owner(workspace))
    copy = copies.open(job_id)
    if copy.about.workspace != str(workspace):
        copy.close()
        raise UsageError(
            f"Job {job_id!r} works on a copy of {copy.about.workspace!r}, not of {str(workspace)!r}.",
            hint="Give it the same --workspace.",
        )
    return copy
