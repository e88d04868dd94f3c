"""Which host directory a sandbox may see, and which of its files are masked or read-only inside."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from perstack.errors import PolicyError

from perstack_containers.spec import WORKSPACE, Bind

SYSTEM_DIRECTORIES = tuple(
    Path(name)
    for name in (
        "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/run",
        "/var/lib/docker", "/var/lib/containers", "/System", "/Library", "/private/etc",
    )
)  # fmt: skip
"""Neither these nor anything below them."""
SHARED_DIRECTORIES = tuple(map(Path, ("/tmp", "/var/tmp", "/home", "/Users", "/var", "/opt", "/srv", "/mnt", "/media")))  # noqa: S108
"""Not these themselves; a directory below them may be someone's project."""
ENGINE_SOCKETS = frozenset({"docker.sock", "podman.sock", "containerd.sock", "crio.sock", "buildkitd.sock"})

SECRET_FILES = (
    ".env", ".env.*", ".npmrc", ".pypirc", ".netrc", ".git-credentials", ".ssh", ".aws", ".azure", ".gnupg", ".kube",
    ".docker", "id_rsa", "id_ecdsa", "id_ed25519", "*.pem", "*.p12", "*.pfx",
)  # fmt: skip
"""Names of files and directories that hold credentials wherever they are; a sandbox sees them empty."""
PUBLIC_FILES = (".env.example", ".env.sample", ".env.template")
CONTROL_FILES = (
    "perstack.toml", "perstack.lock", ".git/hooks", ".git/config", ".git/modules", ".github", ".gitlab-ci.yml",
    ".circleci", ".vscode", ".idea", ".devcontainer", ".husky", ".pre-commit-config.yaml", ".envrc", ".bashrc",
    ".bash_profile", ".profile", ".zshrc",
)  # fmt: skip
"""Paths whose content some other tool runs on the host; a sandbox cannot change them."""
SKIPPED = frozenset({"node_modules", ".git", ".venv", "__pycache__"})
MAX_ENTRIES = 50_000
MAX_MASKS = 256


def check_workspace(path: Path, *, home: Path, sockets: Sequence[Path] = ()) -> Path:
    """The resolved directory, which may be mounted into a sandbox.

    Args:
        path: What was asked for.
        home: The user's home directory.
        sockets: Where the engine answers on this machine.

    Raises:
        PolicyError: It is the root, a home or a system directory, or holds an engine's socket.
    """
    real = path.resolve(strict=True)
    reason = _reason(real, home.resolve(), [socket.resolve() for socket in sockets])
    if reason:
        raise PolicyError(
            f"The workspace {str(path)!r} is not given to a sandbox: {reason}.",
            hint="Choose a directory that holds the project and nothing else.",
        )
    return real


def _reason(real: Path, home: Path, sockets: Sequence[Path]) -> str:
    if real == Path(real.anchor):
        return "it is the root of the file system"
    if real == home or real in home.parents:
        return "it is your home directory, or holds it"
    if real.parent in {Path("/home"), Path("/Users")} or real == Path("/root"):
        return "it is a home directory"
    for system in SYSTEM_DIRECTORIES:
        if real == system.resolve() or system.resolve() in real.parents or real in system.parents:
            return f"it is or holds the system directory {system}, or lies in it"
    if real in {shared.resolve() for shared in SHARED_DIRECTORIES}:
        return "other programs and users share it"
    if any(real in socket.parents for socket in sockets):
        return "an engine's socket lies in it"
    for name in sorted(os.listdir(real)):
        if name in ENGINE_SOCKETS and stat.S_ISSOCK(os.lstat(real / name).st_mode):
            return f"an engine's socket lies in it: {name}"
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarded:
    """Paths of a workspace that a sandbox does not get as they are, relative to it.

    Attributes:
        secrets: Seen as empty.
        controls: Seen, and not to be changed.
    """

    secrets: tuple[str, ...]
    controls: tuple[str, ...]


def guarded(workspace: Path) -> Guarded:
    """The secret and control files that are there now.

    Raises:
        PolicyError: There are more secret files than can be masked, or too many files to look at.
    """
    secrets = []
    for count, relative in enumerate(_walk(workspace)):
        if count > MAX_ENTRIES:
            raise PolicyError(
                f"The workspace {str(workspace)!r} holds more than {MAX_ENTRIES} files.",
                hint="Choose a smaller directory: each one is looked at for secrets before a sandbox sees it.",
            )
        if is_secret(relative):
            secrets.append(relative)
    if len(secrets) > MAX_MASKS:
        raise PolicyError(
            f"The workspace {str(workspace)!r} holds {len(secrets)} files with secrets; {MAX_MASKS} can be masked."
        )
    controls = [relative for relative in CONTROL_FILES if _is_plain(workspace / relative)]
    return Guarded(secrets=tuple(secrets), controls=tuple(controls))


def is_secret(relative: str) -> bool:
    """Whether a part of the path is the name of a secret file or directory."""
    return any(
        name not in PUBLIC_FILES and any(fnmatchcase(name, pattern) for pattern in SECRET_FILES)
        for name in relative.split("/")
    )


def is_control(relative: str) -> bool:
    """Whether the path is a control file, or lies below one."""
    return any(relative == control or relative.startswith(f"{control}/") for control in CONTROL_FILES)


def _walk(workspace: Path) -> Iterator[str]:
    """Every path, secret directories included and not entered."""
    for directory, directories, files in os.walk(workspace):
        prefix = os.path.relpath(directory, workspace)
        prefix = "" if prefix == "." else f"{prefix}/"
        yield from (f"{prefix}{name}" for name in (*directories, *files))
        directories[:] = [name for name in directories if name not in SKIPPED and not is_secret(name)]


def _is_plain(path: Path) -> bool:
    """A file or directory; a link is a name, and what it names is masked under its own."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def binds(workspace: Path, found: Guarded, *, read_only: bool, empty: Path) -> tuple[Bind, ...]:
    """The mounts of a workspace; masks come after what they cover. Each target is there already.

    Args:
        workspace: The host directory, or a copy of it.
        found: What is masked.
        read_only: Whether nothing in it can be changed.
        empty: An empty directory that stands in for a secret one.
    """
    mounts = [Bind(source=str(workspace), target=WORKSPACE, read_only=read_only)]
    if any(control.startswith(".git/") for control in found.controls):
        # A mount point cannot be renamed: nobody moves .git away and puts another one in its place.
        mounts.append(Bind(source=str(workspace / ".git"), target=f"{WORKSPACE}/.git", read_only=read_only))
    for relative in found.controls:
        mounts += [Bind(source=str(workspace / relative), target=f"{WORKSPACE}/{relative}", read_only=True)]
    for relative in found.secrets:
        path = workspace / relative
        if path.is_symlink():
            continue  # what it names is masked under its own name, or is not there at all
        source = str(empty) if path.is_dir() else os.devnull
        mounts.append(Bind(source=source, target=f"{WORKSPACE}/{relative}", read_only=True))
    return tuple(mounts)


def quarantine(workspace: Path, before: Guarded, place: Path) -> tuple[str, ...]:
    """Control files that were not there before are moved to `place`; returns their paths in the workspace."""
    new = [
        relative
        for relative in CONTROL_FILES
        if relative not in before.controls and os.path.lexists(workspace / relative)
    ]
    for relative in new:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.move(workspace / relative, place / relative.replace("/", "+"))
    return tuple(new)
