"""How a job ended, and the exit code that says so."""

from __future__ import annotations

from perstack.checkpoints import RunStatus
from perstack.engine.state import RunState
from perstack.errors import ExitCode

EXIT_CODES: dict[RunStatus, ExitCode] = {
    "completed": ExitCode.COMPLETED,
    "stoppedByError": ExitCode.FAILED,
    "stoppedByExceededMaxSteps": ExitCode.BUDGET,
    "stoppedByBudget": ExitCode.BUDGET,
    "stoppedByInteractiveTool": ExitCode.INTERACTIVE,
}


def exit_code(run: RunState) -> ExitCode:
    """The exit code for the coordinator's last state; a run that has no final status failed."""
    return EXIT_CODES.get(run.status, ExitCode.FAILED)
