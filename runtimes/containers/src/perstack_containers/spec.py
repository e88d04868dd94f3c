"""The container of one skill: every hardening flag stands here, and nothing else decides one.

Pure functions of the policy, the image and the engine's dialect; golden tests show each flag in a reviewable diff.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from perstack_proxy.limits import KIB, MIB
from perstack_proxy.variables import proxy_variables

if TYPE_CHECKING:
    from perstack.messages import JsonObject, JsonValue
    from perstack.skill_policy import Limits, SkillPolicy

    from perstack_containers.engine import Dialect

HOSTNAME = "sandbox"
NAME_FILES = {"hosts": f"127.0.0.1 localhost {HOSTNAME}\n::1 localhost\n", "resolv.conf": ""}
"""Files of ``/etc`` in every sandbox, which engines would fill with names and name servers of the host."""
HOME = "/home/perstack"
WORKSPACE = "/workspace"
PACKAGES = "/opt/packages"
"""Where a skill sees its locked packages."""
EXECUTABLE_PLACE = "/scratch"
"""The one writable place outside the workspace whose files can be run, for package runners that unpack programs."""
PID1 = ("python3", "-I", "-S", "/opt/perstack/pid1.py")
OPEN_FILES = 4096
USERS_PROCESSES = 4096
FILE_BYTES = 4 * 1024 * MIB
SHARED_MEMORY = 64 * MIB
CPU_UNIT = 1_000_000_000

_TMPFS = "rw,nosuid,nodev,noexec"
TMPFS = {
    "/tmp": f"{_TMPFS},size=256m,mode=1777",  # noqa: S108 - the sandbox's own
    "/var/tmp": f"{_TMPFS},size=64m,mode=1777",  # noqa: S108 - as above
    "/run": f"{_TMPFS},size=8m,mode=755",
    HOME: f"{_TMPFS},size=256m,mode=1777",
    EXECUTABLE_PLACE: "rw,nosuid,nodev,exec,size=512m,mode=1777",
}
"""Every writable mount but the workspace. Sizes are bytes of memory too, so they count against the memory limit."""

PROXY_NAMES = frozenset(proxy_variables("", node_preload=""))
BASELINE_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": HOME,
    "SHELL": "/bin/sh",
}
"""What a skill sees beside its decided variables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bind:
    """One host path inside the container."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """One volume of the engine's inside the container."""

    name: str
    target: str
    read_only: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerSpec:
    """A container before an engine has seen it.

    Attributes:
        uid: User that everything inside runs as; never 0.
        seccomp: The profile's text and the path of its file.
        network: The engine's network that it joins, in the engine's words; a sandbox has none.
        open_files: Most open files of each process.
        dns: Its name servers; empty means the engine's own choice.
    """

    image: str
    uid: int
    gid: int
    labels: Mapping[str, str]
    binds: tuple[Bind, ...]
    limits: Limits
    seccomp: tuple[str, str] = field(repr=False)
    runtime: str = ""
    volumes: tuple[Volume, ...] = ()
    network: str = "none"
    open_files: int = OPEN_FILES
    dns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.uid == 0:
            raise ValueError("a sandbox never runs as the superuser")


def create_body(spec: ContainerSpec, dialect: Dialect) -> JsonObject:
    """The request that makes the container; it carries neither a variable's value nor the skill's command."""
    limits = spec.limits
    host: JsonObject = {
        "NetworkMode": spec.network,
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": [],
        "SecurityOpt": ["no-new-privileges", f"seccomp={spec.seccomp[0 if dialect.seccomp == 'text' else 1]}"],
        "ReadonlyRootfs": True,
        "Mounts": [*map(_mount, spec.binds), *map(_volume, spec.volumes)],
        "Tmpfs": dict(TMPFS),
        "ShmSize": SHARED_MEMORY,
        "Memory": limits.memory,
        "MemorySwap": limits.memory,
        "MemoryReservation": limits.memory_reserved,
        "NanoCpus": round(limits.cpus * CPU_UNIT),
        "PidsLimit": limits.pids,
        "OomKillDisable": False,
        "Ulimits": [_ulimit(name, value) for name, value in ulimits(spec.open_files).items()],
        "LogConfig": {"Type": "none", "Config": {}},
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "Init": False,
        "PublishAllPorts": False,
    }
    if spec.dns:
        host["Dns"] = list(spec.dns)
    if dialect.userns:
        # A container's network belongs to that container's user namespace, and cannot be joined without it.
        joins = spec.network.startswith("container:")
        host["UsernsMode"] = spec.network if joins else dialect.userns
    if spec.runtime:
        host["Runtime"] = spec.runtime
    return {
        "Image": spec.image,
        "User": f"{spec.uid}:{spec.gid}",
        **({} if spec.network.startswith("container:") else {"Hostname": HOSTNAME}),
        # Even "none" is a network to Docker, which takes time to join, and its 20.10 can lock up when two leave it.
        "NetworkDisabled": spec.network == "none",
        "Entrypoint": [],
        "Cmd": list(PID1),
        "Env": [],
        "WorkingDir": "/",
        "Labels": dict(spec.labels),
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }


def ulimits(open_files: int = OPEN_FILES) -> dict[str, int]:
    """Limits of each process, beside those of the whole sandbox.

    The kernel counts processes by user, over all sandboxes of that user, so that limit is no more than a backstop.
    """
    return {
        "nproc": USERS_PROCESSES,
        "nofile": open_files,
        "core": 0,
        "fsize": FILE_BYTES,
        "msgqueue": 0,
        "memlock": 64 * KIB,
    }


def _ulimit(name: str, value: int) -> JsonValue:
    return {"Name": name, "Soft": value, "Hard": value}


def _mount(bind: Bind) -> JsonValue:
    kind: Literal["bind"] = "bind"
    return {
        "Type": kind,
        "Source": bind.source,
        "Target": bind.target,
        "ReadOnly": bind.read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _volume(volume: Volume) -> JsonValue:
    return {
        "Type": "volume",
        "Source": volume.name,
        "Target": volume.target,
        "ReadOnly": volume.read_only,
        "VolumeOptions": {"NoCopy": True},
    }


def packages_bind(policy: SkillPolicy) -> tuple[Bind, ...]:
    """The skill's locked packages, which it can read and run, and nobody in the sandbox can change."""
    mount = policy.packages
    return () if mount is None else (Bind(source=str(mount.host), target=mount.target, read_only=True),)


def skill_env(granted: Mapping[str, str], *, proxy: Mapping[str, str] | None = None) -> dict[str, str]:
    """Everything that the skill sees. `proxy` leads to the forwarder; proxies of the host are nothing to a sandbox."""
    own = {name: value for name, value in granted.items() if name not in PROXY_NAMES}
    return {**BASELINE_ENV, **own, **(proxy or {})}
