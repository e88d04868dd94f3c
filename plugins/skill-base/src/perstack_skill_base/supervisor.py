"""One command and everything it starts, in a process of its own that ends with nothing left.

`exec` starts this program for each command. It is the subreaper of what the command starts, so a descendant that left
its session, group and parent is still found. It ends the whole tree when the command exits, when the time is over, and
when its standard input closes, which also happens when the server is killed.

Arguments: directory handle, status handle, milliseconds to run, milliseconds between SIGTERM and SIGKILL, program, its
arguments. The command gets this process's environment and its output handles. One line is written to the status
handle: `<cause> <return code> <survivors>`, the cause one of exited, timeout, cancelled, or `failed <errno> 0`.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

from perstack_proxy.processes import become_subreaper, end_tree


def main() -> None:
    """Runs until the command's tree is gone."""
    directory, status, timeout_ms, grace_ms = map(int, sys.argv[1:5])
    os.fchdir(directory)
    os.close(directory)
    os.set_inheritable(status, False)  # noqa: FBT003 - its only form
    become_subreaper()
    wake = _wake_on_signals()
    try:
        child = subprocess.Popen(sys.argv[5:], stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        os.write(status, b"failed %d 0\n" % (error.errno or 0))
        return
    cause = _wait(child, wake, time.monotonic() + timeout_ms / 1000)
    survivors = end_tree(os.getpid(), grace=grace_ms / 1000, include_root=False, groups=(child.pid,))
    code = child.wait() if child.pid not in survivors else 0
    os.write(status, b"%s %d %d\n" % (cause, code, len(survivors)))


def _wake_on_signals() -> int:
    """A handle that becomes readable when a child ends or when this process is asked to end."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return reader


def _wait(child: subprocess.Popen[bytes], wake: int, deadline: float) -> bytes:
    """Why the wait is over."""
    while True:
        readable, _, _ = select.select([0, wake], [], [], max(0.0, deadline - time.monotonic()))
        signals = os.read(wake, 4096) if wake in readable else b""
        # The child is looked at but not collected: its process group must keep its number until the tree is ended.
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return b"exited"
        if 0 in readable or any(number != signal.SIGCHLD for number in signals):
            return b"cancelled"
        if time.monotonic() >= deadline:
            return b"timeout"
