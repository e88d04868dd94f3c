"""Which host directory a sandbox may see, and which of its files are masked or read-only inside."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from perstack.errors import PolicyError
from perstack_proxy.beneath import LISTING_FLAGS, open_beneath
from perstack_proxy.filenames import is_secret, obeyed_by

from perstack_containers.spec import WORKSPACE, Bind

Identity: TypeAlias = tuple[int, int]
"""Device and number of a file."""

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

SKIPPED = frozenset({"node_modules", ".venv", "__pycache__"})
MAX_ENTRIES = 50_000
MAX_MASKS = 256
"""Of each kind."""
MAX_SEARCHED = 1_000_000
"""Files of a workspace that are looked at after a run, in about two seconds."""
NAME_BYTES = 200


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
    """Paths of a workspace that a sandbox does not get as they are, relative to it, each with what stands there.

    Attributes:
        secrets: Seen as empty.
        controls: Seen, and not to be changed.
    """

    secrets: Mapping[str, Identity]
    controls: Mapping[str, Identity]

    def holds(self, relative: str, identity: Identity) -> bool:
        """Whether this is there already, and the same; at the top, names cannot change hands while they are masked."""
        known = self.secrets.get(relative) or self.controls.get(relative)
        return known is not None and ("/" not in relative or known == identity)


def guarded(workspace: Path) -> Guarded:
    """The secret and control files that are there now.

    Raises:
        PolicyError: There are more than can be masked, or too many files to look at.
    """
    secrets: dict[str, Identity] = {}
    controls: dict[str, Identity] = {}
    for count, (relative, entry) in enumerate(_walk(workspace)):
        if count > MAX_ENTRIES:
            raise PolicyError(
                f"The workspace {str(workspace)!r} holds more than {MAX_ENTRIES} files.",
                hint="Choose a smaller directory: each one is looked at for secrets before a sandbox sees it.",
            )
        if is_secret((entry.name,)):
            secrets[relative] = _identity(entry)
        elif _is_control(relative, entry):
            controls[relative] = _identity(entry)
    for kind, names in (("secrets", secrets), ("settings that other programs obey", controls)):
        if len(names) > MAX_MASKS:
            raise PolicyError(
                f"The workspace {str(workspace)!r} holds {len(names)} files with {kind}; {MAX_MASKS} can be masked.",
                hint="Choose a smaller directory.",
            )
    return Guarded(secrets=secrets, controls=controls)


def _walk(workspace: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every path and its entry, the top ones first; what is masked is not entered, and neither are `SKIPPED`."""
    waiting = deque([""])
    while waiting:
        above = waiting.popleft()
        try:
            entries = sorted(os.scandir(workspace / above), key=lambda entry: entry.name)
        except OSError:
            continue  # gone, or closed to its owner, who then cannot use what is in it either
        for entry in entries:
            relative = f"{above}{entry.name}"
            yield relative, entry
            if not entry.is_dir(follow_symlinks=False) or entry.name in SKIPPED or above.casefold().endswith(".git/"):
                continue  # a repository's own directories are large and hold nothing that is looked for
            if not is_secret((entry.name,)) and not _is_control(relative, entry):
                waiting.append(f"{relative}/")


def _is_control(relative: str, entry: os.DirEntry[str]) -> bool:
    """Whether something outside of the sandbox obeys it. Directories above it do not, or it would not be looked at."""
    names = relative.split("/")[-2:]
    return obeyed_by(names, directory=entry.is_dir(follow_symlinks=False)) is not None


def _identity(entry: os.DirEntry[str]) -> Identity:
    found = entry.stat(follow_symlinks=False)
    return found.st_dev, found.st_ino


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
    repositories = {os.path.dirname(relative) for relative in found.controls}
    pinned = sorted(name for name in repositories if os.path.basename(name).casefold() == ".git")
    shown = [relative for relative in found.controls if _is_plain(workspace / relative)]
    hidden = [relative for relative in found.secrets if _is_plain(workspace / relative)]

    def bind(relative: str, *, read_only: bool, source: str = "") -> Bind:
        return Bind(source=source or str(workspace / relative), target=f"{WORKSPACE}/{relative}", read_only=read_only)

    return (
        Bind(source=str(workspace), target=WORKSPACE, read_only=read_only),
        # A mount point cannot be renamed: nobody moves .git away and puts another one in its place.
        *(bind(relative, read_only=read_only) for relative in pinned),
        *(bind(relative, read_only=True) for relative in shown),
        *(
            bind(relative, read_only=True, source=str(empty) if (workspace / relative).is_dir() else os.devnull)
            for relative in hidden
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """What was moved out of a workspace, as paths in it; `complete` says whether all of it was looked at."""

    moved: tuple[str, ...]
    complete: bool = True


def quarantine(workspace: Path, before: Guarded, place: Path) -> Quarantined:
    """Control files that were not there before are moved to `place`.

    Below the top of the workspace, one in the place of another counts as new: a directory above it can be moved away.
    """
    new: list[str] = []
    complete = True
    for count, (relative, entry) in enumerate(_walk(workspace)):
        if count > MAX_SEARCHED:
            complete = False
            break
        if _is_control(relative, entry) and not before.holds(relative, _identity(entry)):
            new.append(relative)
    set_aside(workspace, new, place)
    return Quarantined(moved=tuple(new), complete=complete)


def set_aside(workspace: Path, paths: Sequence[str], place: Path) -> None:
    """Each of these paths in the workspace that is there is in `place`, under a name that tells where it was."""
    for number, relative in enumerate(paths):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        flat = os.fsdecode(os.fsencode(relative.replace("/", "+"))[-NAME_BYTES:])
        _move_out(workspace, relative, place / (f"{number}+{flat}" if os.path.lexists(place / flat) else flat))


def _move_out(workspace: Path, relative: str, target: Path) -> None:
    """What has that path is at `target`, or has at least another name, which nothing obeys."""
    *above, name = relative.split("/")
    with suppress(FileNotFoundError, NotADirectoryError), _opened(workspace, above) as parent:
        if not os.path.lexists(f"{parent}/{name}"):
            return  # it went with the directory above it
        try:
            shutil.move(f"{parent}/{name}", target)
        except (OSError, shutil.Error):  # another file system, and something in it that cannot be copied
            if os.path.lexists(f"{parent}/{name}"):
                os.rename(f"{parent}/{name}", f"{parent}/perstack-quarantine-{os.urandom(4).hex()}")


@contextmanager
def _opened(workspace: Path, parts: Sequence[str]) -> Iterator[str]:
    """A name of that directory that no link in the workspace can lead elsewhere."""
    root = os.open(workspace, LISTING_FLAGS)
    try:
        handle = open_beneath(root, parts)
        try:
            yield f"/proc/self/fd/{handle}" if sys.platform == "linux" else str(workspace.joinpath(*parts))
        finally:
            os.close(handle)
    finally:
        os.close(root)
