"""The guardian of one skill: it starts the skill, and nothing that the skill started outlives it or perstack.

Run as ``python -I -S guardian.py CONTROL LEAF`` with an empty environment. CONTROL is the number of an inherited
socket, LEAF the directory that holds `perstack_proxy`. What crosses the socket is JSON, an object a line:

    perstack → guardian   {"path": …, "argv": […], "env": {…}, "cwd": …}    once; secrets are nowhere else
                          {"grace": seconds}                                end the skill; so does closing the socket
    guardian → perstack   {"started": pid} or {"failed": reason}            once
                          {"exited": code}                                  once, as soon as the skill itself ended

The skill inherits standard input, output and error, so its bytes never pass through here.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

GRACE_SECONDS = 2.0
"""Between SIGTERM and SIGKILL when perstack is gone and cannot say; the leaf's figure for a process tree."""
LINGER_SECONDS = 0.25
"""For a server that ends by itself once its standard input is closed, as MCP asks."""

CHUNK = 65536


class Control:
    """The guardian's end of the socket."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # noqa: FBT003 - the function takes no keywords
        self.fd = fd
        self._buffer = b""

    def read(self) -> dict[str, object] | None:
        """The next object; None once perstack has closed its end, or died."""
        while b"\n" not in self._buffer:
            try:
                chunk = os.read(self.fd, CHUNK)
            except ConnectionError:
                chunk = b""
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, object] = json.loads(line)
        return message

    def write(self, **message: object) -> None:
        """Send one object, if there is still someone to read it."""
        try:
            os.write(self.fd, json.dumps(message).encode() + b"\n")
        except OSError:
            return


def main(control_fd: int, leaf: str) -> int:
    """One skill has lived and is gone with all that it started when this returns."""
    sys.path.append(leaf)
    from perstack_proxy.processes import become_subreaper, end_tree, set_not_dumpable

    set_not_dumpable()  # before the secrets arrive
    finds_orphans = become_subreaper()
    control = Control(control_fd)
    wake = _wake_on_signals()
    spec = control.read()
    if spec is None:
        return 0
    try:
        child = _spawn(spec)
    except (OSError, ValueError) as error:
        control.write(failed=str(error))
        return 1
    del spec
    _let_go_of_standard_streams()
    control.write(started=child)

    code, grace = _watch(control, wake, child)
    roots = [os.getpid()] if finds_orphans else [os.getpid(), child]
    for root in roots:
        end_tree(root, grace=grace, include_root=root == child)
    last = _collect(child)
    if code is None and last is not None:
        control.write(exited=last)
    return 0


def _spawn(spec: dict[str, object]) -> int:
    """The process id of the skill, which leads a session of its own and gets exactly the environment of `spec`."""
    path, argv, env, cwd = spec["path"], spec["argv"], spec["env"], spec["cwd"]
    if not (isinstance(path, str) and isinstance(argv, list) and isinstance(env, dict) and isinstance(cwd, str)):
        raise ValueError("the guardian was given no command")
    os.chdir(cwd)
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
    child = os.posix_spawn(path, argv, env, setsid=True, setsigmask=(), setsigdef=ignored)
    os.chdir("/")
    return child


def _wake_on_signals() -> int:
    """A descriptor that becomes readable when a child ended or someone asks the guardian to end.

    The guardian survives what a terminal sends; only perstack and SIGTERM end it.
    """
    readable, writable = os.pipe()
    for fd in (readable, writable):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    return readable


def _let_go_of_standard_streams() -> None:
    """Perstack sees the end of a stream when the skill closes it: the guardian holds none open."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _watch(control: Control, wake: int, child: int) -> tuple[int | None, float]:
    """Returns when the tree must end: the skill's exit code, if it ended by itself, and the grace for the rest."""
    deadline: float | None = None
    grace = GRACE_SECONDS
    while True:
        sources = [wake] if deadline is not None else [wake, control.fd]
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready = select.select(sources, [], [], timeout)[0]
        if wake in ready and signal.SIGTERM in os.read(wake, CHUNK):
            return None, grace
        code = _collect(child)
        if code is not None:
            control.write(exited=code)
            return code, grace
        if deadline is not None and time.monotonic() >= deadline:
            return None, grace
        if control.fd in ready:
            order = control.read() or {}
            asked = order.get("grace")
            grace = float(asked) if isinstance(asked, int | float) else GRACE_SECONDS
            deadline = time.monotonic() + min(LINGER_SECONDS, grace)


def _collect(child: int) -> int | None:
    """The exit code of `child` if it has ended; orphans that were given to the guardian are collected on the way."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
