"""The person at the terminal: whether a call may go ahead, and what they answer to an Expert's question."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import msgspec

from perstack.errors import PolicyError, UsageError

if TYPE_CHECKING:
    from perstack.journal.approvals import StandingApprovals
    from perstack.messages import ToolCall
    from perstack.specs import ToolView
    from perstack.tools.review import Verdict

_LITERAL = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})


class Approvals:
    """What may go ahead in one run. Without a match, and without a person who says yes, nothing may."""

    def __init__(self, patterns: Sequence[str], *, standing: StandingApprovals, pause: Callable[[], None]) -> None:
        """Start with what is allowed already.

        Args:
            patterns: ``SKILL:TOOL`` with ``*`` and ``?``, from the command line.
            standing: What the person has always allowed.
            pause: Called before a question, so that nothing is drawn over it.
        """
        for pattern in patterns:
            if not all(pattern.partition(":")):
                hint = "Write, say: --approve 'files:write*'"
                raise UsageError(f"--approve {pattern!r} is not SKILL:TOOL.", hint=hint)
        self._patterns = list(patterns)
        self._standing = standing
        self._pause = pause
        self._one_question = anyio.Lock()

    async def __call__(self, call: ToolCall, tool: ToolView, verdict: Verdict) -> bool:
        """Whether the call may go ahead.

        Raises:
            PolicyError: There is nobody to ask.
        """
        name = f"{tool.skill}:{tool.name}"
        async with self._one_question:
            if any(fnmatchcase(name, pattern) for pattern in self._patterns) or self._standing.holds(tool.expert, name):
                return True
            return await anyio.to_thread.run_sync(self._ask, name, call, tool.expert, verdict)

    def _ask(self, name: str, call: ToolCall, expert: str, verdict: Verdict) -> bool:
        from perstack.terminal.prompts import open_terminal

        terminal = open_terminal(os.environ, check=anyio.from_thread.check_cancelled)
        if terminal is None:
            raise PolicyError(f"there is no terminal, and no --approve names '{name}'.")
        self._pause()
        try:
            question = f"{verdict.by} asks: {verdict.reason} Let {name} run?"
            answer = terminal.ask(question, f"{name}\n{_shown(call)}")
        finally:
            terminal.close()
        if answer == "always":
            self._standing.add(expert, name)
        elif answer == "run":
            self._patterns.append(name.translate(_LITERAL))
        return answer != "no"


class Questions:
    """Puts the questions of interactive tools to the person; None when there is no terminal, or no answer."""

    def __init__(self, pause: Callable[[], None]) -> None:
        self._pause = pause
        self._one_question = anyio.Lock()

    async def __call__(self, call: ToolCall) -> str | None:
        """The answer."""
        async with self._one_question:
            return await anyio.to_thread.run_sync(self._ask, call)

    def _ask(self, call: ToolCall) -> str | None:
        from perstack.terminal.prompts import open_terminal

        terminal = open_terminal(os.environ, check=anyio.from_thread.check_cancelled)
        if terminal is None:
            return None
        self._pause()
        try:
            return terminal.read(f"{call.skill_name} asks with {call.tool_name}. Your answer:", _shown(call))
        finally:
            terminal.close()


def _shown(call: ToolCall) -> str:
    return msgspec.json.format(msgspec.json.encode(call.args)).decode()
