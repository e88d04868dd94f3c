"""Questions to the person at the controlling terminal, whatever standard input and output are connected to."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from typing import Literal, TextIO

from perstack_proxy.sanitise import sanitise, sanitise_line

from perstack.terminal.output import Output

Answer = Literal["once", "run", "always", "no"]
"""Yes to this call; to all such calls of this run; to all such calls from now on; no."""

ANSWER_SECONDS = 600.0
"""Long enough to fetch someone who knows; then nobody is there, and that means no."""

LOOK_SECONDS = 0.2
"""Between two looks whether anybody waits for the answer still; sooner than a person would press Ctrl-C again."""

_ANSWERS: Mapping[str, Answer] = {
    "y": "once",
    "yes": "once",
    "r": "run",
    "run": "run",
    "a": "always",
    "always": "always",
    "n": "no",
    "no": "no",
}
_CHOICES = "[y]es, [n]o, yes for this [r]un, [a]lways yes: "


class Terminal:
    """The controlling terminal. Only a whole typed word counts: Enter alone, a closed terminal and silence mean no."""

    def __init__(
        self, descriptor: int, writer: TextIO, environ: Mapping[str, str], *, check: Callable[[], None] = lambda: None
    ) -> None:
        """Take over open files.

        Args:
            descriptor: Read from.
            writer: Written to.
            environ: Says how to write.
            check: Called again and again while nobody answers; raises when nobody waits for the answer any more.
        """
        self._descriptor = descriptor
        self._writer = writer
        self._check = check
        self._output = Output(writer, environ)

    def ask(self, question: str, details: str = "", *, timeout: float = ANSWER_SECONDS) -> Answer:
        """What the person answers; blocks, so an event loop calls it in a thread.

        Args:
            question: One line that says what will happen.
            details: What it will happen with, perhaps many lines; shown before the question.
            timeout: Seconds to wait for an answer.
        """
        deadline = time.monotonic() + timeout
        self._discard_typed_ahead()
        if details:
            self._output.line(_indented(sanitise(details)))
        while True:
            self._output.write(f"{self._output.style(sanitise_line(question), 'strong')} {_CHOICES}")
            typed = self._read_line(deadline)
            if typed is None:
                self._output.line()
                return "no"
            answer = _ANSWERS.get(typed.strip().lower())
            if answer is not None:
                return answer
            if not typed.strip():
                return "no"

    def read(self, question: str, details: str = "", *, timeout: float = ANSWER_SECONDS) -> str | None:
        """The line that the person types; None when nobody is there. Blocks, as `ask` does."""
        self._discard_typed_ahead()
        if details:
            self._output.line(_indented(sanitise(details)))
        self._output.write(f"{self._output.style(sanitise_line(question), 'strong')} ")
        typed = self._read_line(time.monotonic() + timeout)
        if typed is None:
            self._output.line()
            return None
        return typed.strip() or None

    def close(self) -> None:
        """The terminal is released."""
        self._writer.close()
        os.close(self._descriptor)

    def _read_line(self, deadline: float) -> str | None:
        if sys.platform != "win32":
            while not select.select([self._descriptor], [], [], LOOK_SECONDS)[0]:
                self._check()
                if time.monotonic() > deadline:
                    return None
        try:
            # Unbuffered: the rest of what was pasted must not answer the next question.
            return os.read(self._descriptor, 4096).decode("utf-8", "replace") or None
        except OSError:
            return None

    def _discard_typed_ahead(self) -> None:
        """A key that was pressed before the question appeared is no answer to it."""
        if sys.platform == "win32":
            return
        import termios

        try:
            termios.tcflush(self._descriptor, termios.TCIFLUSH)
        except termios.error:
            return


def open_terminal(environ: Mapping[str, str], *, check: Callable[[], None] = lambda: None) -> Terminal | None:
    """The terminal that controls this process; None when there is none, or this is a job in its background."""
    if sys.platform == "win32":
        if not sys.stdin.isatty():
            return None
        descriptor = os.dup(sys.stdin.fileno())
        return Terminal(descriptor, open(os.dup(sys.stderr.fileno()), "w", encoding="utf-8"), environ, check=check)
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    if os.tcgetpgrp(descriptor) != os.getpgrp():  # reading would stop the whole process
        os.close(descriptor)
        return None
    return Terminal(descriptor, open(os.dup(descriptor), "w", encoding="utf-8"), environ, check=check)


def _indented(text: str) -> str:
    return "  " + text.replace("\n", "\n  ")
