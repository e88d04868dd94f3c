"""Directories of a proof that go with it, also when its process is killed."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

PROGRAM = """
import shutil, sys
for path in sys.stdin.buffer.read().split(b"\\0")[:-1]:
    shutil.rmtree(path, ignore_errors=True)
"""
"""Ends with its standard input, which is ours, and removes what we can no longer remove when we are killed."""


class Sweeper:
    """A process of this user that knows of every directory before there is one.

    Attributes:
        decoy: A random word that stands in its variables: whoever shows it has read another process's.
    """

    def __init__(self, told: IO[bytes], decoy: str) -> None:
        self._told = told
        self.decoy = decoy

    @contextmanager
    def directory(self, parent: Path, prefix: str) -> Iterator[Path]:
        """A new directory in `parent` that only this user may enter; it is removed at the end.

        Raises:
            OSError: It cannot be made.
        """
        path = parent / f"{prefix}{secrets.token_hex(8)}"
        with suppress(BrokenPipeError):  # somebody ended the sweeper; we still tidy up ourselves
            self._told.write(os.fsencode(path) + b"\0")
            self._told.flush()
        path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def sweeper() -> Iterator[Sweeper]:
    """A sweeper, as long as this lasts."""
    decoy = secrets.token_hex(16)
    env = {"PERSTACK_DECOY": decoy, **{name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}}
    command = [sys.executable, "-I", "-S", "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=env, start_new_session=True) as process:
        try:
            yield Sweeper(cast("IO[bytes]", process.stdin), decoy)  # a pipe, as asked
        finally:
            process.kill()
