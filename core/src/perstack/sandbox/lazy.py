"""A skill that starts when it is first called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import anyio

from perstack.errors import LockMismatch, PerstackError, ToolError

if TYPE_CHECKING:
    from perstack.messages import JsonObject
    from perstack.protocols import CallOutcome, SkillSession, SkillTool

MAX_STARTS = 5
"""Attempts in one run. A server that failed that often will not come up, and each attempt costs the model a step."""


class LazySession:
    """The session of a skill that may not run yet. A start that fails is the failure of the call that wanted it."""

    def __init__(self, skill: str, tools: Sequence[SkillTool], start: Callable[[], Awaitable[SkillSession]]) -> None:
        """Describe the skill without starting it.

        Args:
            skill: Its name.
            tools: What it offered when it last ran.
            start: Starts it and returns its session. Never called twice at once, nor again after it succeeded.
        """
        self._skill = skill
        self._known = tools
        self._start = start
        self._starts = 0
        self._starting = anyio.Lock()
        self._session: SkillSession | None = None

    @property
    def server_name(self) -> str:
        """What the server calls itself; nothing before it runs."""
        return self._session.server_name if self._session else ""

    @property
    def server_version(self) -> str:
        """The server's own version; nothing before it runs."""
        return self._session.server_version if self._session else ""

    @property
    def tools(self) -> Sequence[SkillTool]:
        """What it offers; before it runs, what it offered when it last did."""
        return self._session.tools if self._session else self._known

    async def call(self, name: str, args: JsonObject, *, timeout: float) -> CallOutcome:
        """Call a tool, which starts the skill. Starting has the time of the handshake, and none of `timeout`."""
        session = await self._started()
        wanted = [tool for tool in self._known if tool.name == name]
        if wanted != [tool for tool in session.tools if tool.name == name]:
            raise ToolError(f"Skill {self._skill!r} changed or withdrew {name!r} since it last ran.")
        return await session.call(name, args, timeout=timeout)

    async def _started(self) -> SkillSession:
        async with self._starting:
            if self._session is None:
                if self._starts == MAX_STARTS:
                    raise ToolError(f"Skill {self._skill!r} did not start {MAX_STARTS} times and is given up.")
                self._starts += 1
                try:
                    self._session = await self._start()
                except LockMismatch:
                    raise  # no other call goes to it either
                except PerstackError as error:
                    raise ToolError(f"Skill {self._skill!r} could not be started: {error}") from None
            return self._session
