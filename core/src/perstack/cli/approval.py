"""Whether a tool call that somebody wants to be asked about may go ahead: ``--approve``, or the person's word."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import anyio
import msgspec

from perstack.errors import UsageError

if TYPE_CHECKING:
    from perstack.messages import ToolCall
    from perstack.specs import ToolView
    from perstack.tools.review import Verdict


class Approvals:
    """What may go ahead in one run. Without a match and without a terminal, nothing may.

    Attributes:
        patterns: ``SKILL:TOOL`` with ``*`` and ``?``, from the command line.
        pause: Called before the person is asked, so that nothing is drawn over the question.
    """

    def __init__(self, patterns: Sequence[str], *, pause: Callable[[], None]) -> None:
        for pattern in patterns:
            if not all(pattern.partition(":")):
                raise UsageError(
                    f"--approve {pattern!r} is not SKILL:TOOL.", hint="For example: --approve 'files:write*'"
                )
        self._patterns = list(patterns)
        self._pause = pause
        self._one_question = anyio.Lock()

    async def __call__(self, call: ToolCall, tool: ToolView, verdict: Verdict) -> bool:
        """Whether the call may go ahead."""
        name = f"{tool.skill}:{tool.name}"
        async with self._one_question:
            if any(fnmatchcase(name, pattern) for pattern in self._patterns):
                return True
            return await anyio.to_thread.run_sync(self._ask, name, call, verdict)

    def _ask(self, name: str, call: ToolCall, verdict: Verdict) -> bool:
        from perstack.terminal.prompts import open_terminal

        terminal = open_terminal(os.environ)
        if terminal is None:
            return False
        self._pause()
        try:
            arguments = msgspec.json.format(msgspec.json.encode(call.args)).decode()
            question = f"{verdict.by} asks: {verdict.reason} Let {name} run?"
            answer = terminal.ask(question, f"{name}\n{arguments}")
        finally:
            terminal.close()
        if answer == "always":
            self._patterns.append(name.translate(_LITERAL))
        return answer != "no"


_LITERAL = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})
