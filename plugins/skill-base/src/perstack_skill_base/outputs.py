"""What commands printed beyond their results, kept in files without a name until the server ends."""

from __future__ import annotations

import os
import threading

from perstack_skill_base.errors import ToolError
from perstack_skill_base.limits import KEPT_OUTPUTS


class Spill:
    """The beginning of one stream on disk. The file has no name, so nothing is left of it, however the server ends.

    Args:
        limit: Most bytes that are kept.

    Raises:
        OSError: There is no place for temporary files.
    """

    def __init__(self, limit: int) -> None:
        import tempfile

        # Named, because the search for a place would end in the working directory, which is the workspace.
        place = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - the file has no name there
        self._file = tempfile.TemporaryFile(buffering=0, dir=place)  # noqa: SIM115 - kept as long as the output
        self._room = limit
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Adds what was read, up to the limit, or to what the disk takes."""
        view = memoryview(data)[: self._room]
        try:
            while view:
                count = os.write(self._file.fileno(), view)
                view = view[count:]
                self._room -= count
                self.size += count
        except OSError:
            self._room = 0  # a full disk must not fail the command

    def read(self, offset: int, count: int) -> bytes:
        """The bytes from `offset` on."""
        return os.pread(self._file.fileno(), count, offset)

    def close(self) -> None:
        """The space is free again."""
        self._file.close()


class Outputs:
    """The spilled streams of the last commands, by an id that no two commands share. Safe to use from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, dict[str, Spill]] = {}
        self._last = 0

    def keep(self, streams: dict[str, Spill]) -> int:
        """The id under which the streams can be read from now on; the oldest ones are dropped."""
        with self._lock:
            self._last += 1
            self._kept[self._last] = streams
            while len(self._kept) > KEPT_OUTPUTS:
                for spill in self._kept.pop(next(iter(self._kept))).values():
                    spill.close()
            return self._last

    def read(self, ident: int, stream: str, offset: int, count: int) -> tuple[bytes, int]:
        """Bytes of a stream from `offset` on, a negative one counted from the end, and how many are kept of it.

        Raises:
            ToolError: Nothing is kept under this id.
        """
        with self._lock:
            streams = self._kept.get(ident)
            if streams is None or stream not in streams:
                kept = ", ".join(f"{known} ({', '.join(names)})" for known, names in self._kept.items()) or "none"
                raise ToolError("NotFound", f"The {stream} of output {ident} is not kept. Kept are: {kept}.")
            spill = streams[stream]
            start = max(0, spill.size + offset) if offset < 0 else offset
            return spill.read(start, count), spill.size
