"""Which host directory a sandbox may see, and which of its files are masked or read-only inside."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal, NamedTuple, TypeAlias

from perstack.errors import PolicyError
from perstack_proxy.beneath import LISTING_FLAGS, open_beneath
from perstack_proxy.file_policy import FilePolicy
from perstack_proxy.filenames import is_secret, obeyed_by

from perstack_containers.spec import WORKSPACE, Bind

NOTHING_OPEN = FilePolicy()
_ANY = "\0"
"""A name that no file can have: only a pattern that takes every name in a directory takes it."""
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
        opened: Of these kinds too, and seen as they are: the policy of the sandbox's skill opens them. None can be
            replaced by another from inside, as the masks of other sandboxes would go with what they cover.
    """

    secrets: Mapping[str, Identity]
    controls: Mapping[str, Identity]
    opened: Mapping[str, Identity]

    def holds(self, relative: str, identity: Identity) -> bool:
        """Whether this is there already, and the same; at the top, names cannot change hands while they are masked."""
        known = self.secrets.get(relative) or self.controls.get(relative)
        return known is not None and ("/" not in relative or known == identity)

    def since(self, first: Guarded) -> Guarded:
        """Without the control files that came after `first`.

        A skill that has one of them open can replace it, and the masks of the others would go with it.
        """
        there = first.secrets.keys() | first.controls.keys() | first.opened.keys()
        known = {
            path: found for path, found in self.controls.items() if there & {path, *map(str, PurePath(path).parents)}
        }
        return replace(self, controls=known)

    def covers(self, relative: str) -> bool:
        """Whether nobody in the sandbox can change this, at the top, where no directory above it can be moved away."""
        return relative.partition("/")[0] in self.controls


NOTHING_MASKED = Guarded(secrets={}, controls={}, opened={})


class _Found(NamedTuple):
    """A path of a workspace and what it is to a sandbox: at most one of the last three.

    Attributes:
        secret: A file for secrets, or a directory of them.
        control: Something outside of the sandbox obeys it, and no directory above that is closed stands for it.
        opened: One of these that the policy opens, and no directory above that is open stands for it.
    """

    relative: str
    entry: os.DirEntry[str]
    secret: bool
    control: bool
    opened: bool


def is_open(files: FilePolicy, relative: str, *, directory: bool) -> bool:
    """Whether the policy lets this be written or, as a directory, all that may be made in it."""
    names = relative.split("/")
    return files.control((*names, _ANY) if directory else names) is None


def guarded(workspace: Path, files: FilePolicy = NOTHING_OPEN) -> Guarded:
    """The secret and control files that are there now.

    Args:
        workspace: A directory of the host.
        files: What is opened. Of a directory that is closed, what is there and opened; a directory of files for secrets
            is closed as a whole or not at all.

    Raises:
        PolicyError: There are more than can be masked, or too many files to look at.
    """
    secrets: dict[str, Identity] = {}
    controls: dict[str, Identity] = {}
    opened: dict[str, Identity] = {}
    for count, found in enumerate(_walk(workspace, files)):
        if count > MAX_ENTRIES:
            raise PolicyError(
                f"The workspace {str(workspace)!r} holds more than {MAX_ENTRIES} files.",
                hint="Choose a smaller directory: each one is looked at for secrets before a sandbox sees it.",
            )
        if found.secret:
            secrets[found.relative] = _identity(found.entry)
        elif found.control:
            controls[found.relative] = _identity(found.entry)
        elif found.opened:
            opened[found.relative] = _identity(found.entry)
    masked = {"secrets": secrets, "settings that other programs obey": controls, "either that are opened": opened}
    for kind, names in masked.items():
        if len(names) > MAX_MASKS:
            raise PolicyError(
                f"The workspace {str(workspace)!r} holds {len(names)} files with {kind}; {MAX_MASKS} can be masked.",
                hint="Choose a smaller directory.",
            )
    return Guarded(secrets=secrets, controls=controls, opened=opened)


def _walk(workspace: Path, files: FilePolicy) -> Iterator[_Found]:
    """Every path, the top ones first; neither what is in secret directories nor in `SKIPPED`."""
    waiting: deque[tuple[str, _Above]] = deque([("", "")])
    while waiting:
        above, kind = waiting.popleft()
        try:
            entries = sorted(os.scandir(workspace / above), key=lambda entry: entry.name)
        except OSError:
            continue  # gone, or closed to its owner, who then cannot use what is in it either
        for entry in entries:
            found = _judged(f"{above}{entry.name}", entry, kind, files)
            yield found
            if found.secret or not entry.is_dir(follow_symlinks=False) or entry.name in SKIPPED:
                continue
            inner: _Above = "closed" if found.control else "open" if found.opened else kind
            if not (above.casefold().endswith(".git/") and (inner != "closed" or not files.writable)):
                waiting.append((f"{found.relative}/", inner))  # else large, and nothing in it is looked for


_Above: TypeAlias = Literal["", "closed", "open"]
"""Whether a directory above is a control or secret one, and then whether the policy opens it."""


def _judged(relative: str, entry: os.DirEntry[str], above: _Above, files: FilePolicy) -> _Found:
    """What a path is. Only what is named so is looked up in the policy: there are many files."""
    names, directory = relative.split("/"), entry.is_dir(follow_symlinks=False)
    reached = (*names, _ANY) if directory else names
    named = is_secret(names[-1:])
    secret = named and files.secret(reached)
    obeyed = above == "closed" or obeyed_by(names[-2:], directory=directory) is not None
    closed = (obeyed or above == "open") and files.control(reached) is not None
    covered = (above == "closed" and closed) or (above == "open" and not named)
    return _Found(
        relative,
        entry,
        secret=secret,
        control=closed and above != "closed",
        opened=(named or obeyed) and not (secret or closed or covered),
    )


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
    repositories = {os.path.dirname(relative) for relative in (*found.controls, *found.opened)}
    pinned = {name for name in repositories if os.path.basename(name).casefold() == ".git"}
    modes = dict.fromkeys((*pinned, *found.opened), read_only) | dict.fromkeys(found.controls, True)
    # A mount point cannot be renamed: nobody moves .git away and puts another one in its place.
    kept = [name for name in modes if name in pinned or _is_plain(workspace / name)]
    hidden = {relative for relative in found.secrets if _is_plain(workspace / relative)}

    def bind(relative: str) -> Bind:
        path, target = workspace / relative, f"{WORKSPACE}/{relative}"
        if relative in hidden:
            return Bind(source=str(empty) if path.is_dir() else os.devnull, target=target, read_only=True)
        return Bind(source=str(path), target=target, read_only=modes[relative])

    return (
        Bind(source=str(workspace), target=WORKSPACE, read_only=read_only),
        *(bind(relative) for relative in sorted((*kept, *hidden), key=lambda name: name.split("/"))),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """What was moved out of a workspace, as paths in it; `complete` says whether all of it was looked at."""

    moved: tuple[str, ...]
    complete: bool = True


def quarantine(workspace: Path, before: Guarded, place: Path, files: FilePolicy = NOTHING_OPEN) -> Quarantined:
    """Control files that were not there before, and that the policy does not open, are moved to `place`.

    Below the top of the workspace, one in the place of another counts as new: a directory above it can be moved away.
    """
    new: list[str] = []
    open_ones: list[str] = []
    complete = True
    for count, found in enumerate(_walk(workspace, files)):
        if count > MAX_SEARCHED:
            complete = False
            break
        if found.control and not before.holds(found.relative, _identity(found.entry)):
            new.append(found.relative)
        elif found.opened:
            open_ones.append(found.relative)
    moved = [part for relative in new for part in _without(workspace, relative, open_ones)]
    set_aside(workspace, moved, place)
    return Quarantined(moved=tuple(moved), complete=complete)


def _without(workspace: Path, relative: str, kept: Sequence[str]) -> Iterator[str]:
    """The path; or, where kept ones are below it, all below it that holds none of them."""
    if not any(path.startswith(f"{relative}/") for path in kept):
        yield relative
        return
    for name in sorted(os.listdir(workspace / relative)):
        if f"{relative}/{name}" not in kept:
            yield from _without(workspace, f"{relative}/{name}", kept)


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
