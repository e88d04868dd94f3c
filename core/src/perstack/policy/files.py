"""Which host paths a skill sees: the workspace, and nothing else."""

from __future__ import annotations

from pathlib import Path

from perstack.skill_policy import Mount, MountMode, Origin

TARGET = "/workspace"


def workspace_mount(workspace: Path, *, mode: MountMode = "rw") -> Mount:
    """The workspace as a skill with a file system of its own sees it."""
    return Mount(host=workspace, target=TARGET, mode=mode, origin=Origin(source="--workspace"))
