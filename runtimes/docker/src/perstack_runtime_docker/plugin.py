"""What this distribution offers to perstack: the runtime ``docker``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack.hookspecs import hookimpl
from perstack.skill_policy import CONTROLS
from perstack.specs import DoctorCheck, RuntimeSpec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from perstack.protocols import Runtime
    from perstack.specs import HealthReport, RuntimeContext

CLAIMS = frozenset(CONTROLS) - {"limits.disk"}


@hookimpl
def perstack_register_runtimes() -> Iterable[RuntimeSpec]:
    """The runtime of this package."""
    return [_spec()]


@hookimpl
def perstack_doctor_checks() -> Iterable[DoctorCheck]:
    """Whether the engine answers, and whether a sandbox holds."""
    return [
        DoctorCheck(name="engine", summary="Docker answers and is fit", run=_engine),
        DoctorCheck(name="sandbox", summary="A sandbox starts and holds", run=_sandbox),
    ]


def _spec() -> RuntimeSpec:
    return RuntimeSpec(
        name="docker",
        summary="Each skill runs in a hardened container of its own, without a network device.",
        factory=_make,
        claims=CLAIMS,
        packages_at=_packages_at,
    )


def _packages_at(_directory: Path) -> str:
    from perstack_containers.spec import PACKAGES

    return PACKAGES


def _make(context: RuntimeContext) -> Runtime:
    import os

    from perstack_containers.runtime import ContainerRuntime

    from perstack_runtime_docker.host import docker_host

    return ContainerRuntime(context, docker_host(os.environ))


async def _engine() -> HealthReport:
    from perstack_containers.health import engine

    return await engine(_spec())


async def _sandbox() -> HealthReport:
    from perstack_containers.health import sandbox

    return await sandbox(_spec())
