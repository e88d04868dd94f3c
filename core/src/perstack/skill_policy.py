"""What one skill may do: the decided, frozen value that every runtime enforces and ``perstack explain`` prints.

Nothing widens a `SkillPolicy` after it was decided. It names environment variables and never holds their values, so it
can be shown, stored and compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, get_args

from perstack_proxy.file_policy import FilePolicy
from perstack_proxy.limits import MIB

Control = Literal[
    "network",
    "filesystem",
    "capabilities",
    "user",
    "env",
    "rootfs",
    "private-addresses",
    "limits.memory",
    "limits.swap",
    "limits.cpu",
    "limits.pids",
    "limits.disk",
]
"""One line of the runtime comparison: something that a boundary enforces or does not."""

CONTROLS: tuple[Control, ...] = get_args(Control)

MountMode = Literal["ro", "overlay", "rw"]
"""How a skill sees the workspace: read, changed in a copy of the job, or changed. Narrowest first."""

MOUNT_MODES: tuple[MountMode, ...] = get_args(MountMode)

SkillKind = Literal["mcpStdioSkill", "mcpHttpSkill", "mcpSseSkill", "interactiveSkill"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a value came from, so that a person can go and change it.

    Attributes:
        source: A file, an option, an environment variable, ``plugin NAME`` or ``built-in``.
        line: 1-based line in that file, or None.
    """

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


BUILT_IN = Origin(source="built-in")


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvGrant:
    """One environment variable that the skill sees.

    Attributes:
        name: The name inside the skill.
        source: The name on the host side whose value it gets.
        secret: Whether the value is redacted wherever it shows up.
        description: Why the skill needs it, in the words of the configuration.
    """

    name: str
    source: str
    origin: Origin
    secret: bool = False
    description: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class EgressGrant:
    """One domain pattern that the skill may reach over HTTPS."""

    pattern: str
    origin: Origin


@dataclass(frozen=True, kw_only=True, slots=True)
class HeaderGrant:
    """One header that goes to a remote skill. `template` names variables as ``$NAME`` and holds no value of any."""

    name: str
    template: str
    origin: Origin


@dataclass(frozen=True, kw_only=True, slots=True)
class FileGrant:
    """Control files that the skill may change, or files for secrets that it may read, although skills may not.

    Attributes:
        access: Which of the two.
        pattern: As in `perstack_proxy.globs`, for paths from the workspace and all below them.
    """

    access: Literal["change", "read"]
    pattern: str
    origin: Origin


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """One host path that the skill sees."""

    host: PurePath
    target: str
    mode: MountMode
    origin: Origin


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the skill may use up. Defaults are the requirement's.

    Attributes:
        memory: Bytes of memory; no swap on top.
        memory_reserved: Bytes that stay available to it.
        cpus: Processor cores.
        pids: Processes and threads at once.
    """

    memory: int = 2048 * MIB
    memory_reserved: int = 256 * MIB
    cpus: float = 2.0
    pids: int = 256
    origin: Origin = BUILT_IN


@dataclass(frozen=True, kw_only=True, slots=True)
class SkillPolicy:
    """Everything that a runtime needs to know of one skill, and all that it may allow.

    Attributes:
        expert: Key of the Expert that the skill belongs to.
        skill: The skill's name in the configuration.
        kind: The skill's type, which selects the transport.
        argv: Command and arguments; empty for a skill without a process.
        endpoint: URL of a remote skill, or empty.
        headers: Headers that go to that URL's host; the variables that they name are in `env`.
        timeout: Seconds for one call, or None for the default.
        lazy: Whether it is started by its first call, once its tools are known.
        allow_sampling: Whether its server may ask the run's model.
        allow_elicitation: Whether its server may ask the person at the terminal.
        image: Container image that the skill asks for, or None for the runtime's own.
        env: Variables that it sees, sorted by name; no others reach it.
        egress: Domains that it may reach; none when empty.
        mounts: Host paths that it sees.
        files: Which files of the workspace are opened to it that are closed to others.
        packages: Its locked packages, read-only; None for a command that is there without any.
        limits: What it may use up.
        required: Controls without which the run refuses to start.
        origin: Where the skill is declared.
    """

    expert: str
    skill: str
    kind: SkillKind
    origin: Origin
    argv: tuple[str, ...] = ()
    endpoint: str = ""
    headers: tuple[HeaderGrant, ...] = ()
    timeout: float | None = None
    lazy: bool = False
    allow_sampling: bool = False
    allow_elicitation: bool = False
    image: str | None = None
    env: tuple[EnvGrant, ...] = ()
    egress: tuple[EgressGrant, ...] = ()
    mounts: tuple[Mount, ...] = ()
    files: tuple[FileGrant, ...] = ()
    packages: Mount | None = None
    limits: Limits = Limits()
    required: frozenset[Control] = frozenset()

    @property
    def file_policy(self) -> FilePolicy:
        """Which control files and files for secrets are closed to it, by path."""
        return FilePolicy(
            writable=[grant.pattern for grant in self.files if grant.access == "change"],
            readable=[grant.pattern for grant in self.files if grant.access == "read"],
        )


def is_pinned(image: str) -> bool:
    """Whether the name of a container image says what is in it: a registry's digest, or an engine's own id."""
    return "@sha256:" in image or image.startswith("sha256:")
