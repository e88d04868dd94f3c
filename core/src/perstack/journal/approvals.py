"""Tool calls that a person has allowed for good: in the state directory, which no skill sees in a sandbox."""

from __future__ import annotations

import json
import os
from pathlib import Path

from perstack.errors import JournalWriteError
from perstack.journal.disk import open_private, private_directory, write_all

FILE_NAME = "approvals.json"


class StandingApprovals:
    """What one person always allows in one project.

    An entry names the configuration, the Expert and the tool, so a yes in one project is none in another.
    """

    def __init__(self, state_dir: Path, *, config: Path) -> None:
        self._path = state_dir / FILE_NAME
        self._config = str(config)

    def holds(self, expert: str, name: str) -> bool:
        """Whether the person has allowed ``SKILL:TOOL`` of that Expert for good."""
        return [self._config, expert, name] in self._read()

    def add(self, expert: str, name: str) -> None:
        """Allow it from now on.

        Raises:
            JournalWriteError: It could not be written down.
        """
        entries = [*self._read(), [self._config, expert, name]]
        temporary = self._path.with_suffix(".tmp")
        try:
            private_directory(self._path.parent)
            descriptor = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                write_all(descriptor, json.dumps(entries, indent=1).encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(self._path)
        except OSError as error:
            raise JournalWriteError(
                f"The approval could not be kept in {str(self._path)!r}: {error.strerror}."
            ) from error

    def _read(self) -> list[object]:
        """The entries; a file that is missing or that nobody can read allows nothing."""
        try:
            entries = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return []
        return entries if isinstance(entries, list) else []
