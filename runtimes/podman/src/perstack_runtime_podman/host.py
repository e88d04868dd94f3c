"""Podman on this machine: its service, or one of our own for the length of a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING

from perstack.errors import Problem
from perstack_containers.api import ApiEngine
from perstack_containers.engine import Dialect
from perstack_containers.host import Host, Service, service_directory
from perstack_containers.http import EngineFailure

if TYPE_CHECKING:
    from perstack_containers.engine import ImageStore

OLDEST = (4, 3)
"""The oldest that these runs were tried on."""
SYSTEM_SOCKET = "/run/podman/podman.sock"
ASK_SECONDS = 60.0
PASSED_ON = (
    "PATH", "HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF", "DBUS_SESSION_BUS_ADDRESS", "TMPDIR", "LANG",
)  # fmt: skip
"""Variables that Podman finds its own files by; a service of ours sees no others."""
INSTALL = "Install Podman, or choose another --runtime; docker is isolated as well."


def podman_host(environ: Mapping[str, str], *, run_id: str) -> Host:
    """The service that the user's own `podman` would use; without one, a private one that ends with the run."""
    asked = environ.get("CONTAINER_HOST", "")
    path = _running_service(asked, environ)
    service = Service()
    if path is None:
        directory = service_directory(environ, run_id)
        path = str(directory / "podman.sock")
        command = ("podman", "system", "service", "--time=0", f"unix://{path}")
        service = Service(command=command, environment=_environment(environ), directory=directory)
    rootless = os.getuid() != 0 and path != SYSTEM_SOCKET
    # Names of users are the container's own: inside, the caller has the number that they have outside.
    engine = ApiEngine("Podman", path, Dialect(seccomp="path", userns="keep-id" if rootless else "", volumes="first"))
    return Host(
        engine=engine,
        images=lambda: _images(engine.address),
        preflight=lambda: problems(engine, asked, environ, private=bool(service.command)),
        service=service,
    )


def _running_service(asked: str, environ: Mapping[str, str]) -> str | None:
    """The socket of a service that is there, or None."""
    if asked.startswith("unix://"):
        return asked.removeprefix("unix://")
    own = f"{environ.get('XDG_RUNTIME_DIR', '')}/podman/podman.sock"
    candidates = (SYSTEM_SOCKET,) if os.getuid() == 0 else (own,)
    return next((path for path in candidates if os.access(path, os.W_OK)), None)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in PASSED_ON if name in environ}


def _images(path: str) -> ImageStore:
    from perstack_runtime_podman.images import PodmanImages

    return PodmanImages(path)


def problems(engine: ApiEngine, asked: str, environ: Mapping[str, str], *, private: bool) -> tuple[Problem, ...]:
    """What stands in the way, each with what to do."""
    if asked and not asked.startswith("unix://"):
        return (
            Problem(
                message=f"CONTAINER_HOST is {asked!r}: an engine on another machine cannot mount this workspace",
                where="CONTAINER_HOST",
                hint="Unset it, or name a unix socket of this machine.",
            ),
        )
    try:
        # Whether a running service filters system calls is seen in each sandbox, before its skill starts.
        version, seccomp = _asked_command(environ) if private else (engine.version(), True)
    except FileNotFoundError:
        return (Problem(message="There is no podman command", hint=INSTALL),)
    except (EngineFailure, OSError, ValueError, subprocess.SubprocessError) as error:
        return (Problem(message=f"Podman does not work here: {error}", hint="See: podman info"),)
    found = []
    if _version(version) < OLDEST:
        found.append(
            Problem(
                message=f"Podman {version} is too old; {OLDEST[0]}.{OLDEST[1]} or newer is needed",
                hint="Upgrade Podman.",
            )
        )
    if not seccomp:
        found.append(Problem(message="Podman works without seccomp here", hint="Install a build that has it."))
    return tuple(found)


def _asked_command(environ: Mapping[str, str]) -> tuple[str, bool]:
    command = shutil.which("podman", path=environ.get("PATH"))
    if command is None:
        raise FileNotFoundError("podman")
    done = subprocess.run(
        [command, "info", "--format", "json"],
        env=_environment(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=ASK_SECONDS,
    )
    if done.returncode:
        raise ValueError(done.stderr.strip()[-500:])
    info = json.loads(done.stdout)
    return info["version"]["Version"], info["host"]["security"]["seccompEnabled"] is True


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("-", maxsplit=1)[0].split(".")[:2] if part.isdecimal())
