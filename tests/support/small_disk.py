"""A file system that fills up: a tmpfs of a few pages, which only root can mount."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted tmpfs.

    Attributes:
        path: Where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, kibibytes: int) -> None:
        """Give it another size."""
        _run("mount", "-o", f"remount,size={kibibytes}k", str(self.path))


@contextmanager
def small_disk(path: Path, *, kibibytes: int) -> Iterator[SmallDisk]:
    """A tmpfs of that size at `path`; without the right to mount one the test is skipped."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small disk")
    path.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={kibibytes}k,mode=755", "tmpfs", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "--lazy", str(path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)
