"""Perstack's end of the pipe to its reaper."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from perstack_containers import reaper
from perstack_containers.labels import RUN

LIBRARY = str(Path(__file__).resolve().parent.parent)


class Keeper:
    """A reaper that waits. When this process ends, however it does, the pipe ends and the reaper starts to clean."""

    def __init__(
        self,
        *,
        address: str,
        owner: str,
        labels: Mapping[str, str],
        directories: Sequence[Path],
        service: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        plan = {
            "socket": address,
            "owner": owner,
            "labels": dict(labels),
            "directories": [str(directory) for directory in directories],
            "service": list(service),
            "environment": dict(environment or {}),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__, LIBRARY, labels[RUN]],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
            text=True,
        )
        self._write(json.dumps(plan) + "\n")

    def done(self) -> None:
        """Nothing is left to do: the reaper ends."""
        self._write("done\n")
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=reaper.CLEAN_SECONDS)

    def _write(self, text: str) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(text)
            self._process.stdin.flush()
