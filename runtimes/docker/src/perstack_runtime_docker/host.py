"""Docker on this machine: where it answers, and what keeps it from being trusted with untrusted code."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.errors import Problem
from perstack_containers.api import ApiEngine
from perstack_containers.engine import Dialect
from perstack_containers.http import EngineFailure
from perstack_containers.runtime import Host

if TYPE_CHECKING:
    from perstack_containers.engine import ImageStore

OLDEST = (20, 10)
"""The first with private cgroup namespaces and seccomp for current system calls."""
SYSTEM_SOCKET = "/var/run/docker.sock"
DESKTOP_SOCKET = ".docker/run/docker.sock"
INSTALL = "Install Docker, or choose another --runtime; podman is isolated as well."


def docker_host(environ: Mapping[str, str]) -> Host:
    """The engine that the user's own `docker` command would talk to, if it is on this machine."""
    asked = environ.get("DOCKER_HOST", "")
    path = _socket(asked)
    engine = ApiEngine("Docker", path, Dialect())
    return Host(engine=engine, images=lambda: _images(path), preflight=lambda: problems(engine, asked))


def _socket(asked: str) -> str:
    if asked.startswith("unix://"):
        return asked.removeprefix("unix://")
    desktop = Path.home() / DESKTOP_SOCKET
    return str(desktop) if not os.path.exists(SYSTEM_SOCKET) and desktop.exists() else SYSTEM_SOCKET


def _images(path: str) -> ImageStore:
    from perstack_runtime_docker.images import DockerImages

    return DockerImages(path)


def problems(engine: ApiEngine, asked: str) -> tuple[Problem, ...]:
    """What stands in the way, each with what to do."""
    if asked and not asked.startswith("unix://"):
        return (
            Problem(
                message=f"DOCKER_HOST is {asked!r}: an engine on another machine cannot mount this workspace",
                where="DOCKER_HOST",
                hint="Unset it, or name a unix socket of this machine.",
            ),
        )
    try:
        facts = engine.facts()
    except EngineFailure as error:
        return (Problem(message=str(error), hint=_hint(engine.socket_path)),)
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
    if facts.rootless:
        found.append(
            Problem(
                message="Docker runs without root, where the workspace cannot belong to the sandbox's user",
                hint="Use --runtime podman, which maps your user, or Docker's system service.",
            )
        )
    return tuple(found)


def _hint(path: str) -> str:
    if not os.path.exists(path):
        return "Start Docker." if shutil.which("docker") else INSTALL
    if not os.access(path, os.W_OK):
        return f"You may not write to {path}: join its group, or use --runtime podman, which needs no service."
    return "Look into the log of Docker's service."


def _version(text: str) -> tuple[int, ...]:
    parts = text.partition("+")[0].partition("-")[0].split(".")
    return tuple(int(part) for part in parts[:2] if part.isdecimal())
