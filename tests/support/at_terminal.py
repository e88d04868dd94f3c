"""A run at a terminal, with a person who types one answer, or a signal that comes at the question."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time

from perstack.testing.model_server import ModelServer
from perstack.testing.project import Project


def at_a_terminal(
    project: Project,
    server: ModelServer,
    typed: str,
    prompt: str,
    *,
    expert: str = "demo",
    query: str = "Go.",
    options: tuple[str, ...] = (),
    seconds: float = 30,
    enter: str = "\n",
    number: signal.Signals | None = None,
) -> tuple[int, str]:
    """The exit code of a run at a terminal of its own where `typed` answers `prompt`, and all that was shown.

    With `number`, perstack gets that signal at `prompt` as well.
    """
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "perstack", *project.run_args(expert, query, *options)]
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        cwd=project.directory,
        env={**project.environment(server, {}), "TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown, deadline, answered = b"", time.monotonic() + seconds, False
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 0.1)[0]:
            try:
                piece = os.read(leader, 65536)
            except OSError:
                break
            shown += piece
        if prompt.encode() in shown and not answered:
            os.write(leader, f"{typed}{enter}".encode())
            answered = True
            if number is not None:
                process.send_signal(number)
    os.close(leader)
    return process.wait(timeout=10), shown.decode("utf-8", "replace")
