"""Which tool calls changed what.

The copy is looked at whenever a call has ended, and what is new belongs to the calls that ran since it was looked at
last. That is one call, or all that were in flight together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

import anyio
from anyio import to_thread

from perstack.errors import StagingError
from perstack.journal.disk import open_private, write_all
from perstack.messages import ToolCall, ToolResult
from perstack.staging.copies import StagedCopy
from perstack.staging.walk import Mark

MAX_CALLS = 20
"""Calls that are named for one entry; the newest."""

Send: TypeAlias = Callable[[ToolCall], Awaitable[ToolResult]]


class CallRef(NamedTuple):
    """One tool call; the names are the skill's and the configuration's own."""

    expert: str
    skill: str
    tool: str
    id: str


class Attribution:
    """Watches one copy during one run of a job."""

    def __init__(self, copy: StagedCopy) -> None:
        """Begin to watch; what is there already belongs to nobody new.

        Raises:
            StagingError: There is too much in the copy.
        """
        self.workspace = copy.workspace
        self._copy = copy
        self._seen: Mapping[str, Mark] = copy.scan()
        self._running: set[CallRef] = set()
        self._ended: set[CallRef] = set()
        self._looking = anyio.Lock()

    async def call(self, call: ToolCall, send: Send, *, expert: str) -> ToolResult:
        """The result of `send`; what the copy has more or less after it is recorded."""
        ref = CallRef(expert, call.skill_name, call.tool_name, call.id)
        self._running.add(ref)
        try:
            return await send(call)
        finally:
            self._ended.add(ref)
            with anyio.CancelScope(shield=True):
                await self._look_after(ref)

    async def finish(self) -> None:
        """What changed since the last call ended is recorded as nobody's."""
        with anyio.CancelScope(shield=True):
            async with self._looking:
                await self._look(())

    async def _look_after(self, ref: CallRef) -> None:
        async with self._looking:
            if ref not in self._ended:
                return  # it had ended before the last look, which was another call's
            ended, running = frozenset(self._ended), frozenset(self._running)
            await self._look(running)
            self._ended -= ended
            self._running -= ended

    async def _look(self, calls: Iterable[CallRef]) -> None:
        with suppress(StagingError):  # more than can be looked at: who did it stays unknown, and applying says why
            now = await to_thread.run_sync(self._copy.scan)
            seen, self._seen = self._seen, now
            paths = {path for path in now.keys() | seen.keys() if now.get(path) != seen.get(path)}
            if paths:
                _append(self._copy.calls, {"calls": sorted(calls), "paths": sorted(paths)})


def attributed(path: Path) -> dict[str, tuple[CallRef, ...]]:
    """The calls behind each changed path, oldest first; a path that nobody's call changed last is there without any."""
    found: dict[str, dict[CallRef, None]] = {}
    with suppress(FileNotFoundError), open(path, encoding="ascii") as lines:
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):  # a torn last line of a run that was killed
                record = json.loads(line)
                calls = [CallRef(*call) for call in record["calls"]]
                for changed in record["paths"]:
                    found.setdefault(changed, {}).update(dict.fromkeys(calls))
    return {changed: tuple(calls)[-MAX_CALLS:] for changed, calls in found.items()}


def _append(path: Path, record: Mapping[str, object]) -> None:
    descriptor = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        write_all(descriptor, json.dumps(record).encode("ascii") + b"\n")
    finally:
        os.close(descriptor)
