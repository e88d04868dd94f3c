"""Docker, here or on another machine: where it answers, and what keeps it from being trusted with untrusted code."""

from __future__ import annotations

import ipaddress
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from perstack.errors import Problem, SandboxUnavailable
from perstack_containers.api import ApiEngine
from perstack_containers.engine import Dialect
from perstack_containers.host import Host, Service, service_directory
from perstack_containers.http import EngineFailure

if TYPE_CHECKING:
    from perstack_containers.engine import ImageStore

OLDEST = (20, 10)
"""The first with private cgroup namespaces and seccomp for current system calls."""
SYSTEM_SOCKET = "/var/run/docker.sock"
DESKTOP_SOCKET = ".docker/run/docker.sock"
OVER_SSH = "Set DOCKER_HOST=ssh://USER@MACHINE"
INSTALL = "Install Docker, or choose another --runtime; podman is isolated as well."


def docker_host(environ: Mapping[str, str], *, run_id: str) -> Host:
    """The engine that the user's own `docker` command would talk to."""
    asked = environ.get("DOCKER_HOST", "")
    service = _service(asked, environ, run_id)
    address = _address(asked) if service.directory is None else str(service.directory / "docker.sock")
    far = asked.startswith(("tcp://", "ssh://"))
    engine = ApiEngine("Docker", address, Dialect())
    return Host(
        engine=engine,
        images=lambda: _images(address),
        preflight=lambda: unreachable(asked, environ) or _problems(engine, asked, environ),
        service=service,
        far=far,
        # Without root, the engine's user is root inside and the sandbox's is nobody whom our files could belong to.
        copies=lambda: far or engine.facts().rootless,
    )


def _service(asked: str, environ: Mapping[str, str], run_id: str) -> Service:
    if asked.startswith("ssh://"):
        from perstack_containers.tunnel import tunnel

        with suppress(ValueError):  # which preflight says
            return tunnel(asked, service_directory(environ, run_id), environ)
    return Service()


def _address(asked: str) -> str:
    if asked.startswith("tcp://"):
        return asked
    if asked.startswith("unix://"):
        return asked.removeprefix("unix://")
    desktop = Path.home() / DESKTOP_SOCKET
    return str(desktop) if not os.path.exists(SYSTEM_SOCKET) and desktop.exists() else SYSTEM_SOCKET


def _images(address: str) -> ImageStore:
    from perstack_runtime_docker.images import DockerImages

    return DockerImages(address)


def unreachable(asked: str, environ: Mapping[str, str]) -> tuple[Problem, ...]:
    """Why an address is not spoken to, if it is not."""
    if not asked or asked.startswith("unix://"):
        return ()
    if asked.startswith("ssh://"):
        from perstack_containers.tunnel import tunnel

        try:
            tunnel(asked, Path(), environ)
        except ValueError:
            reason = "an engine over ssh is ssh://[USER@]MACHINE[:PORT][/PATH-OF-ITS-SOCKET]"
        else:
            return ()
    elif not asked.startswith("tcp://"):
        reason = "engines are reached at unix://, ssh:// and tcp://"
    elif environ.get("DOCKER_TLS_VERIFY") or environ.get("DOCKER_TLS"):
        reason = "TLS to an engine is not supported"
    elif not _is_loopback(asked):
        reason = "secrets and files of the workspace would cross the network unencrypted"
    else:
        return ()
    return (Problem(message=f"DOCKER_HOST is {asked!r}: {reason}", where="DOCKER_HOST", hint=f"{OVER_SSH}."),)


def _is_loopback(asked: str) -> bool:
    """Whether nothing that is sent there leaves this machine; names can lead anywhere."""
    try:
        url = urlsplit(asked)
        return ipaddress.ip_address(url.hostname or "").is_loopback and url.port is not None
    except ValueError:
        return False


def _problems(engine: ApiEngine, asked: str, environ: Mapping[str, str]) -> tuple[Problem, ...]:
    """The same of an engine whose service is not there yet."""
    if not asked.startswith("ssh://"):
        return problems(engine)
    from perstack_containers.tunnel import tried

    try:
        with tried(asked, environ) as path:
            return problems(ApiEngine("Docker", path, Dialect()))
    except SandboxUnavailable as error:
        return (Problem(message=f"DOCKER_HOST is {asked!r}: {error}", where="DOCKER_HOST", hint=error.hint),)


def problems(engine: ApiEngine) -> tuple[Problem, ...]:
    """What stands in the way, each with what to do."""
    try:
        facts = engine.facts()
    except EngineFailure as error:
        return (Problem(message=str(error), hint=_hint(engine.address)),)
    found = []
    if _version(facts.version) < OLDEST:
        found.append(
            Problem(
                message=f"Docker {facts.version} is too old; {OLDEST[0]}.{OLDEST[1]} or newer is needed",
                hint="Upgrade Docker.",
            )
        )
    if not facts.seccomp:
        found.append(Problem(message="Docker was built without seccomp", hint="Install a build that has it."))
    return tuple(found)


def _hint(path: str) -> str:
    if path.startswith("tcp://"):
        return "Start the engine, or the tunnel to it."
    if not os.path.exists(path):
        return "Start Docker." if shutil.which("docker") else INSTALL
    if not os.access(path, os.W_OK):
        return f"You may not write to {path}: join its group, or use --runtime podman, which needs no service."
    return "Look into the log of Docker's service."


def _version(text: str) -> tuple[int, ...]:
    parts = text.partition("+")[0].partition("-")[0].split(".")
    return tuple(int(part) for part in parts[:2] if part.isdecimal())
