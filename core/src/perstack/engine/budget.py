"""What a job may use up, held for all of its runs together."""

from __future__ import annotations

from dataclasses import dataclass

from perstack.engine.state import JobState


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits of one job; None is no limit.

    Attributes:
        steps: Generations, of the coordinator and all delegates, over all continuations.
        tokens: Input and output tokens, likewise.
        deadline: A time of `time.monotonic` at which the job stops.
    """

    steps: int
    tokens: int | None = None
    deadline: float | None = None

    def exceeded(self, job: JobState, *, now: float) -> str | None:
        """The name of the budget that leaves no room for another step, or None."""
        if job.steps >= self.steps:
            return "steps"
        if self.tokens is not None and job.usage.total_tokens >= self.tokens:
            return "tokens"
        if self.deadline is not None and now >= self.deadline:
            return "time"
        return None
