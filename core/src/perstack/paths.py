"""Places on this machine: where perstack keeps files of its own, and where it was called."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from perstack.errors import UsageError

CACHE_VARIABLE = "PERSTACK_CACHE_DIR"


def cache_dir(environ: Mapping[str, str], *, platform: str = sys.platform) -> Path:
    """The directory for things that can be fetched again; it need not exist yet.

    ``PERSTACK_CACHE_DIR`` names it. Without it, it is ``perstack`` in the platform's own place: ``XDG_CACHE_HOME`` or
    ``~/.cache``, ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows.
    """
    if chosen := environ.get(CACHE_VARIABLE):
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    if platform == "darwin":
        return Path.home() / "Library" / "Caches" / "perstack"
    if platform == "win32":
        local = environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "perstack" / "Cache"
    xdg = environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "perstack"


def working_directory() -> Path:
    """The directory that relative paths of a command line start from.

    Raises:
        UsageError: It was removed while the shell stood in it.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("The working directory does not exist any more.", hint="Change into another one.") from None


def named_directory(path: str) -> Path:
    """The directory that an option names, from the working directory on, with links followed; it need not be there.

    Raises:
        UsageError: The working directory was removed.
    """
    return Path(os.path.realpath(working_directory() / path))
