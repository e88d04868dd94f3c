"""Where a run's events go: lines for programs on standard output, or words for people."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from perstack.errors import OutputLost

if TYPE_CHECKING:
    from perstack.events import Event
    from perstack.launch.session import Ended


class RunOutput(Protocol):
    """A receiver of a run's events and of its end."""

    def event(self, event: Event, data: bytes, /) -> None:
        """Show one event; `data` is its JSON, redacted."""
        ...

    def tick(self) -> None:
        """Time has passed."""
        ...

    def pause(self) -> None:
        """Make room for a question; the next event goes on."""
        ...

    def end(self, ended: Ended) -> None:
        """Show how the job ended."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was. Calling it again is harmless."""
        ...


class WhileShown:
    """Shows events for as long as they can be shown; when they cannot, the job stops in good order.

    Attributes:
        lost: Why nothing is shown any more, such as a reader that went away or a full disk.
    """

    def __init__(self, show: Callable[[Event, bytes], None]) -> None:
        self._show = show
        self.lost: OSError | None = None

    def __call__(self, event: Event, data: bytes, /) -> None:
        """Show one event, which is in the journal already."""
        if self.lost is not None:
            return
        try:
            self._show(event, data)
        except OSError as error:
            self.lost = error
            signal.raise_signal(signal.SIGTERM)  # the way of every stop from outside: cancelled, with a checkpoint

    def check(self) -> None:
        """Everything was shown.

        Raises:
            BrokenPipeError: The reader went away.
            OutputLost: Something else was the matter.
        """
        if isinstance(self.lost, BrokenPipeError):
            raise self.lost
        if self.lost is not None:
            raise OutputLost(
                f"Events could not be written any more, so the job was stopped: {self.lost.strerror or self.lost}.",
                hint="Go on with --continue, and with room for the output.",
            ) from self.lost


class JsonLines:
    """Every event as one line of JSON on standard output, as it happens; in ASCII where a terminal would read it."""

    def __init__(self) -> None:
        self._out = sys.stdout.buffer
        self._terminal = sys.stdout.isatty()

    def event(self, _event: Event, data: bytes, /) -> None:
        """Write the line."""
        if self._terminal:
            from perstack.terminal.output import ascii_json

            data = ascii_json(data).encode()
        self._out.write(data + b"\n")
        self._out.flush()

    def tick(self) -> None:
        """Nothing is redrawn."""

    def pause(self) -> None:
        """Nothing is drawn."""

    def end(self, ended: Ended) -> None:
        """Nothing more: the last event said it."""

    def close(self) -> None:
        """Nothing is open."""


class Words:
    """Progress on standard error, and the answer alone on standard output."""

    def __init__(self, expert: str, *, verbose: bool = False, hinted: Callable[[str], str] = str) -> None:
        from perstack.terminal.output import Output
        from perstack.terminal.progress import Screen

        self._expert = expert
        self._hinted = hinted
        self._more = "--max-steps N"
        self._screen = Screen(Output(sys.stderr, os.environ), verbose=verbose)
        self.tick = self._screen.tick
        self.pause = self._screen.pause
        self.close = self._screen.close

    def event(self, event: Event, _data: bytes, /) -> None:
        """Show what changed."""
        self._more = _MORE.get(getattr(event, "budget", ""), self._more)
        self._screen.event(event)

    def end(self, ended: Ended) -> None:
        """Print the answer, or how to go on."""
        from perstack.terminal.output import Output, show_answer

        if ended.run.status == "completed":
            show_answer(Output(sys.stdout, os.environ), ended.run.answer)
        else:
            hint = self._hinted(_how_to_go_on(ended, self._expert, self._more))
            Output(sys.stderr, os.environ).line(f"perstack: {hint}")


_MORE = {"tokens": "--max-tokens N", "cost": "--max-cost USD", "time": "--max-duration MS"}
"""By the budget that is used up, what goes on with a larger one."""


def _how_to_go_on(ended: Ended, expert: str, more: str) -> str:
    command = f"perstack run {expert} QUERY --continue-job {ended.job_id}"
    match ended.run.status:
        case "stoppedByInteractiveTool":
            return f"The job waits for an answer. Give it with: {command} -i"
        case "stoppedByExceededMaxSteps" | "stoppedByBudget":
            return f"The job's budget is used up. Go on with: {command} {more}"
        case _:
            return f"The run failed. Go on with: {command}"
