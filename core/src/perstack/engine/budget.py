"""What a job may use up, held for all of its runs together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from perstack.engine.state import JobState


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits of one job.

    Attributes:
        steps: Generations, of the coordinator and all delegates, over all continuations.
        tokens: Input and output tokens, likewise; None is any number.
        cost: US dollars, likewise; None is any sum.
        deadline: A time of `time.monotonic` at which the job is stopped, whatever it is doing.
    """

    steps: int
    tokens: int | None = None
    cost: float | None = None
    deadline: float = math.inf

    def exceeded(self, job: JobState, *, now: float) -> str | None:
        """The name of the budget that leaves no room for another step, or None."""
        if job.steps >= self.steps:
            return "steps"
        if self.tokens is not None and job.usage.total_tokens >= self.tokens:
            return "tokens"
        if self.cost is not None and (job.usage.cost or 0.0) >= self.cost:
            return "cost"
        if now >= self.deadline:
            return "time"
        return None
