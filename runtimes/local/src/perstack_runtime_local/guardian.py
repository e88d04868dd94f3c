"""The guardian of one skill: it starts the skill, and nothing that the skill started outlives it or perstack.

Run as ``python -I -S guardian.py CONTROL LEAF`` with an empty environment. CONTROL is the number of an inherited
socket, LEAF the directory that holds `perstack_proxy`. Over the socket go:

    perstack → guardian   the command, once: see `pack`; its secrets are nowhere else
                          a line ``end SECONDS``: end the skill, by force after that grace
                          the end of the stream, also when perstack is killed: the same, with `GRACE_SECONDS`
    guardian → perstack   a line ``started PID`` or ``failed REASON``, once
                          a line ``exited CODE``, once, as soon as the skill itself has ended

The skill inherits standard input, output and error, so its bytes never pass through here. A run waits for its
skills, so little is imported before the skill is started: 16 ms instead of 22.
"""

from __future__ import annotations

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

    def take(self, size: int) -> bytes | None:
        """The next `size` bytes; None once perstack has closed its side, or died."""
        while len(self._buffer) < size:
            if not self._read():
                return None
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def take_line(self) -> bytes | None:
        """The next line; None once perstack has closed its side, or died."""
        while b"\n" not in self._buffer:
            if not self._read():
                return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _read(self) -> bool:
        try:
            chunk = os.read(self.fd, CHUNK)
        except ConnectionError:
            return False
        self._buffer += chunk
        return bool(chunk)

    def tell(self, word: str, value: object) -> None:
        """Send one line, if there is still someone to read it."""
        try:
            os.write(self.fd, f"{word} {value}\n".encode("utf-8", "replace"))
        except OSError:
            return


def pack(path: str, argv: tuple[str, ...], env: dict[str, str], cwd: str) -> bytes:
    """A command as it crosses the socket.

    It is a line with the number of arguments and the number of bytes that follow, and then strings that each end in a
    NUL, as the kernel wants them: the program's path, its directory, the arguments, and the variables as NAME=value.

    Raises:
        ValueError: One of the strings holds a NUL.
    """
    strings = [path, cwd, *argv, *(f"{name}={value}" for name, value in env.items())]
    if any("\0" in string for string in strings):
        raise ValueError("an argument or a variable holds a NUL")
    packed = b"".join(os.fsencode(string) + b"\0" for string in strings)
    return b"%d %d\n" % (len(argv), len(packed)) + packed


def main(control_fd: int, leaf: str) -> int:
    """One skill has lived and is gone with all that it started when this returns."""
    sys.path.append(leaf)
    from perstack_proxy.prctl import become_subreaper, set_not_dumpable

    set_not_dumpable()  # before the secrets arrive
    finds_orphans = become_subreaper()
    control = Control(control_fd)
    wake = _wake_on_signals()
    try:
        child = _spawn(control)
    except (OSError, ValueError) as error:
        control.tell("failed", error)
        return 1
    if child is None:
        return 0
    _let_go_of_standard_streams()
    control.tell("started", child)
    from perstack_proxy.processes import end_tree

    code, grace = _watch(control, wake, child)
    roots = [os.getpid()] if finds_orphans else [os.getpid(), child]
    for root in roots:
        end_tree(root, grace=grace, include_root=root == child)
    last = _collect(child)
    if code is None and last is not None:
        control.tell("exited", last)
    return 0


def _spawn(control: Control) -> int | None:
    """The process id of the skill, which leads a session of its own and gets exactly the variables that were sent.

    None when perstack is gone before it sent a command.
    """
    header = control.take_line()
    if header is None:
        return None
    arguments, size = map(int, header.split())
    packed = control.take(size)
    if packed is None:
        return None
    path, cwd, *strings = packed.split(b"\0")[:-1]
    argv, pairs = strings[:arguments], strings[arguments:]
    env = dict(pair.split(b"=", 1) for pair in pairs)
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
    os.chdir(cwd)
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
            control.tell("exited", code)
            return code, grace
        if deadline is not None and time.monotonic() >= deadline:
            return None, grace
        if control.fd in ready:
            order = control.take_line()
            grace = GRACE_SECONDS if order is None else float(order.split()[1])
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
