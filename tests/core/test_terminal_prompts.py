"""Asking at the controlling terminal: real processes on real pseudo-terminals."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")

ASK = """
import os, sys
if len(sys.argv) > 2:
    os.close(os.open(sys.argv[2], os.O_RDWR))  # the first terminal that a session's leader opens controls it
from perstack.terminal.prompts import open_terminal
terminal = open_terminal({"TERM": "xterm", "NO_COLOR": "1"})
if terminal is None:
    print("nobody")
else:
    for _ in range(int(sys.argv[1])):
        answer = terminal.ask("Run exec?\\x1b[2J", "rm -rf\\n\\x1b]0;title\\x07", timeout=float(os.environ["WAIT"]))
        print(answer, flush=True)
    terminal.close()
"""


@contextmanager
def asking(*, questions: int = 1, wait: float = 60) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    import pty

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ASK, str(questions), os.ttyname(follower)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "WAIT": str(wait)},
        start_new_session=True,
    )
    try:
        yield leader, process
    finally:
        process.kill()
        process.communicate()
        os.close(follower)
        os.close(leader)


def shown(leader: int, until: bytes) -> bytes:
    """What the terminal displayed, up to `until`."""
    seen = b""
    deadline = time.monotonic() + 30
    while until not in seen and time.monotonic() < deadline:
        if select.select([leader], [], [], 0.1)[0]:
            seen += os.read(leader, 4096)
    assert until in seen
    return seen


@pytest.mark.parametrize(
    ("typed", "answer"),
    [(b"y\n", "once"), (b"always\n", "always"), (b" A \n", "always"), (b"n\n", "no"), (b"\n", "no"), (b"\x04", "no")],
)
def test_a_person_answers_with_a_word_and_nothing_means_no(typed, answer):
    with asking() as (leader, process):
        shown(leader, b"[a]lways yes: ")
        os.write(leader, typed)
        assert process.communicate(timeout=30)[0].decode().split() == [answer]


def test_AO2_a_question_shows_what_will_happen_without_terminal_commands():
    with asking() as (leader, process):
        seen = shown(leader, b"[a]lways yes: ")
        os.write(leader, b"n\n")
        assert process.communicate(timeout=30)[0].strip() == b"no"
    assert b"\x1b" not in seen
    assert b"rm -rf" in seen
    assert b"Run exec?\\x1b[2J" in seen


def test_what_was_typed_or_pasted_before_the_question_is_no_answer():
    with asking(questions=2) as (leader, process):
        shown(leader, b"[a]lways yes: ")
        os.write(leader, b"n\ny\n")
        shown(leader, b"[a]lways yes: ")
        os.write(leader, b"always\n")
        assert process.communicate(timeout=30)[0].decode().split() == ["no", "always"]


def test_another_word_asks_again():
    with asking() as (leader, process):
        shown(leader, b"[a]lways yes: ")
        os.write(leader, b"maybe\n")
        shown(leader, b"[a]lways yes: ")
        os.write(leader, b"yes\n")
        assert process.communicate(timeout=30)[0].strip() == b"once"


def test_silence_means_no_after_the_time_is_up():
    with asking(wait=0.2) as (_, process):
        assert process.communicate(timeout=30)[0].strip() == b"no"


def test_without_a_controlling_terminal_there_is_nobody_to_ask():
    done = subprocess.run(
        [sys.executable, "-c", ASK, "1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == b"nobody"
