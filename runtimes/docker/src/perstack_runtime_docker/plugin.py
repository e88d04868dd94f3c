"""What this distribution offers to perstack: the runtime ``docker``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack.hookspecs import hookimpl
from perstack_containers import offer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perstack.specs import DoctorCheck, RuntimeContext, RuntimeSpec
    from perstack_containers.host import Host

SUMMARY = "Each skill runs in a hardened container of its own, without a network device."


@hookimpl
def perstack_register_runtimes() -> Iterable[RuntimeSpec]:
    """The runtime of this package."""
    return [_runtime()]


@hookimpl
def perstack_doctor_checks() -> Iterable[DoctorCheck]:
    """Whether the engine answers, and whether a sandbox holds."""
    return offer.doctor_checks(_runtime())


def _runtime() -> RuntimeSpec:
    return offer.runtime("docker", summary=SUMMARY, host=_host)


def _host(context: RuntimeContext) -> Host:
    import os

    from perstack_runtime_docker.host import docker_host

    return docker_host(os.environ, run_id=context.run_id)
