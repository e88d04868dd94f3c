"""Which host paths a skill sees: the workspace, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from perstack.skill_policy import MOUNT_MODES, Mount, MountMode, Origin

TARGET = "/workspace"
UNASKED: tuple[MountMode, Origin] = ("rw", Origin(source="--workspace"))


def workspace_mount(workspace: Path, asked: Iterable[tuple[MountMode | None, Origin]]) -> Mount:
    """The workspace as a skill with a file system of its own sees it: in the narrowest mode that anyone asked for.

    Args:
        workspace: The host's directory.
        asked: Modes and who asked for them, None for nothing; of equal ones the first is named.
    """
    wishes = [(mode, origin) for mode, origin in asked if mode is not None]
    mode, origin = min(wishes or [UNASKED], key=lambda wish: MOUNT_MODES.index(wish[0]))
    return Mount(host=workspace, target=TARGET, mode=mode, origin=origin)
