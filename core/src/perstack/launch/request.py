"""What a person asked ``perstack run`` for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from perstack.errors import UsageError
from perstack.ids import checked_id
from perstack.journal.files import local_state_dir


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """One run as it was asked for; what the options leave open, the configuration decides.

    Attributes:
        expert: Key of the coordinator.
        query: What the person says, or the answer to an interactive call when `is_answer`.
        state_dir: Where journals are, as a path or ``SCHEME://place``.
        extra_env: Further variables that every skill of the project may see.
        approve: Tool calls that are allowed without being asked for.
        job_id: Id of a new job; None makes one up.
        continue_job: Job to go on with; an empty text means the newest.
        resume_from: Checkpoint of `continue_job` to go on from; None is its newest state.
        prove: Try the boundary of every skill before one is started.
    """

    expert: str
    query: str
    workspace: Path
    state_dir: str
    extra_env: tuple[str, ...] = ()
    approve: tuple[str, ...] = ()
    job_id: str | None = None
    continue_job: str | None = None
    resume_from: str | None = None
    is_answer: bool = False
    prove: bool = False

    def __post_init__(self) -> None:
        if self.job_id is not None and self.continue_job is not None:
            raise UsageError("--job-id names a new job, so it does not go with --continue or --continue-job.")
        if self.resume_from is not None and not self.continue_job:
            raise UsageError("--resume-from needs the job of the checkpoint.", hint="Add --continue-job JOB.")
        if self.is_answer and self.continue_job is None:
            raise UsageError("-i answers a call of a stopped job.", hint="Add --continue or --continue-job JOB.")
        for name, value in (
            ("job id", self.job_id),
            ("job id", self.continue_job or None),
            ("checkpoint id", self.resume_from),
        ):
            if value is not None:
                checked_id(value, what=name)
        if not self.query.strip():
            raise UsageError("The query is empty.", hint="Say what the Expert is to do.")
        for name, text in (("query", self.query), ("workspace's name", str(self.workspace))):
            if not _is_text(text):
                raise UsageError(f"The {name} is not UTF-8, so it could not be recorded.", hint="Write it in UTF-8.")
        check_place(self.workspace, local_state_dir(self.state_dir))


def check_place(workspace: Path, state_dir: Path) -> None:
    """The workspace is there, and what perstack keeps lies outside of it.

    Raises:
        UsageError: It is not, or does not.
    """
    if not workspace.is_dir():
        raise UsageError(f"The workspace {str(workspace)!r} is not a directory.", hint="Make it, or choose one.")
    if not os.access(workspace, os.R_OK | os.X_OK):
        raise UsageError(f"The workspace {str(workspace)!r} cannot be read.", hint="Get access to it, or choose one.")
    kept = os.path.realpath(state_dir)
    if Path(kept).is_relative_to(workspace):
        raise UsageError(
            f"The state directory {kept!r} lies in the workspace, where Experts could change the record.",
            hint="Choose another --workspace, or another --state-dir.",
        )


def _is_text(value: str) -> bool:
    """Whether `value` has no byte that its argument held and UTF-8 does not."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
