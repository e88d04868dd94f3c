"""The processes that this server starts itself, so that every other child of it is known to be a leftover.

Should a command kill its own supervisor, its tree falls to this process, which is a subreaper too: any child of it that
it did not start is then such a leftover, and is ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import perstack_proxy
from perstack_proxy.limits import MIB
from perstack_proxy.processes import become_subreaper, end_tree, process_table, set_not_dumpable

import perstack_skill_base

_START = "import sys; sys.path += sys.argv.pop(1).split('\\n'); from {module} import main; main()"
_POLL_SECONDS = 0.05
#: Memory of a helper process; a search needs some tens of megabytes.
_HELPER_BYTES = 1024 * MIB


def own_program(module: str) -> list[str]:
    """The command that runs `main` of a module of this package, with nothing else on its path."""
    paths = "\n".join({os.path.dirname(package.__path__[0]) for package in (perstack_proxy, perstack_skill_base)})
    return [sys.executable, "-I", "-S", "-c", _START.format(module=module), paths]


class _Children:
    """The processes that run on purpose."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._prepared = False

    def start(self, argv: list[str], environment: dict[str, str], handles: tuple[int, ...]) -> subprocess.Popen[bytes]:
        """A process with pipes, in a session of its own; `ended` must follow."""
        with self._lock:
            if not self._prepared:
                self._prepared = True
                become_subreaper()
                set_not_dumpable()  # a command runs as the same user and could read this process's variables
            process = subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=handles,
                start_new_session=True,
            )
            self._running.add(process.pid)
            return process

    def ended(self, pid: int) -> None:
        """Forgets a process and ends whatever has fallen to this one."""
        with self._lock:
            self._running.discard(pid)
            own = os.getpid()
            for row in process_table():
                if row.parent == own and row.pid not in self._running:
                    end_tree(row.pid, grace=0)
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(row.pid, os.WNOHANG)


CHILDREN = _Children()


def run_own(module: str, data: bytes, handle: int, seconds: float, cancelled: threading.Event) -> bytes | None:
    """What `main` of a module of ours wrote, or None if it was ended because its time was over or nobody waits.

    Args:
        module: Its full name.
        data: Its standard input.
        handle: What it inherits.
        seconds: How long it may run.
        cancelled: Ends it when set.

    Raises:
        RuntimeError: It failed; the text has the end of its standard error.
    """
    process = CHILDREN.start(own_program(module), {}, (handle,))
    try:
        _bound(process.pid, seconds)
        deadline = time.monotonic() + seconds
        pending: bytes | None = data
        while not cancelled.is_set() and time.monotonic() < deadline:
            try:
                output, errors = process.communicate(pending, timeout=_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                pending = None
                continue
            if process.returncode:
                raise RuntimeError(f"{module} ended with {process.returncode}: {errors[-500:]!r}")
            return output
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its group is its own, and its number is not free until the wait
        process.communicate()
        CHILDREN.ended(process.pid)


def _bound(pid: int, seconds: float) -> None:
    """The process ends by itself should this one be killed first, and does not take all memory."""
    if sys.platform.startswith("linux"):
        import resource

        time_limit = int(seconds) + 1
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_CPU, (time_limit, time_limit))
            resource.prlimit(pid, resource.RLIMIT_AS, (_HELPER_BYTES, _HELPER_BYTES))
