"""The events of a run's containers and images."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, TypedDict

from perstack.events import DockerBuildProgress, DockerContainerStatus, SkillNotice
from perstack.ids import new_id
from perstack_proxy.sanitise import sanitise_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from perstack.specs import RuntimeContext
    from perstack.staging.changes import Change

    from perstack_containers.workspace import Quarantined

Status = Literal["starting", "running", "unhealthy", "stopped", "error"]
Stage = Literal["building", "complete", "error"]
SHOWN_PATHS = 20


class _Stamp(TypedDict):
    id: str
    timestamp: int
    job_id: str
    run_id: str


class Report:
    """Tells perstack what becomes of the containers; everything said is bounded and sanitised."""

    def __init__(self, context: RuntimeContext) -> None:
        self._context = context

    def status(self, skill: str, status: Status, message: str = "") -> None:
        """A container changed its state."""
        self._context.notify(
            DockerContainerStatus(**self._stamp(), status=status, service=skill, message=sanitise_line(message))
        )

    def build(self, image: str, stage: Stage, message: str) -> None:
        """An image is being made."""
        self._context.notify(
            DockerBuildProgress(**self._stamp(), stage=stage, service=image, message=sanitise_line(message))
        )

    def not_applied(self, skill: str, left: Sequence[Change], place: Path) -> None:
        """What of a run's changes did not reach the host, and where it is."""
        for change in left[:SHOWN_PATHS]:
            kept = f"; the sandbox's is in {place}" if change.after is not None else ""
            self.notice(skill, f"{change.path}: {change.reason}{kept}")
        if len(left) > SHOWN_PATHS:
            self.notice(skill, f"{len(left) - SHOWN_PATHS} more changes were not brought back; they are in {place}")

    def quarantined(self, skill: str, found: Quarantined, place: Path) -> None:
        """Which new files of a workspace other programs would have obeyed."""
        for path in found.moved[:SHOWN_PATHS]:
            self.notice(skill, f"{path} is new and would be run by other tools: moved to {place}")
        if len(found.moved) > SHOWN_PATHS:
            self.notice(skill, f"{len(found.moved) - SHOWN_PATHS} more such files were moved to {place}")
        if not found.complete:
            self.notice(skill, "the workspace has too many files by now to look for all that other tools would run")

    def notice(self, skill: str, text: str) -> None:
        """Something that a person should know of a skill's sandbox."""
        self._context.notify(SkillNotice(**self._stamp(), skill_name=skill, message=sanitise_line(text)))

    def _stamp(self) -> _Stamp:
        return {
            "id": new_id(),
            "timestamp": time.time_ns() // 1_000_000,
            "job_id": self._context.job_id,
            "run_id": self._context.run_id,
        }
