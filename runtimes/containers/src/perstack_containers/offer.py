"""What a plugin for a container engine offers to perstack; engines differ in their names and in how they are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack.skill_policy import CONTROLS
from perstack.specs import DoctorCheck, RuntimeSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from perstack.protocols import Runtime
    from perstack.specs import HealthReport, RuntimeContext

    from perstack_containers.host import Host

CLAIMS = frozenset(CONTROLS) - {"limits.disk"}


def runtime(name: str, *, summary: str, host: Callable[[RuntimeContext], Host]) -> RuntimeSpec:
    """The runtime of an engine.

    Args:
        name: What ``--runtime`` calls it.
        summary: One line for people.
        host: Finds the engine; called when a run wants the runtime, and not before.
    """

    def make(context: RuntimeContext) -> Runtime:
        from perstack_containers.runtime import ContainerRuntime

        return ContainerRuntime(context, host(context))

    def packages_at(_directory: Path) -> str:
        from perstack_containers.spec import PACKAGES

        return PACKAGES

    return RuntimeSpec(name=name, summary=summary, factory=make, claims=CLAIMS, packages_at=packages_at)


def doctor_checks(spec: RuntimeSpec) -> list[DoctorCheck]:
    """Whether the engine answers, and whether a sandbox holds."""

    async def engine() -> HealthReport:
        from perstack_containers import health

        return await health.engine(spec)

    async def sandbox() -> HealthReport:
        from perstack_containers import health

        return await health.sandbox(spec)

    return [
        DoctorCheck(name="engine", summary=f"{spec.name.capitalize()} answers and is fit", run=engine),
        DoctorCheck(name="sandbox", summary="A sandbox starts and holds", run=sandbox),
    ]
