"""A Squid of our own: started with our file, started again when it ends, ended with us."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import sys
import threading
from time import monotonic, sleep

from perstack_proxy.addresses import special_purpose
from perstack_proxy.audit import Audit, AuditLost
from perstack_proxy.control import Policy
from perstack_proxy.processes import die_with_parent
from perstack_proxy.squid import FIRST_PORT, SECOND_GATE, SquidDialer, read_log, squid_config

_START_SECONDS = 15.0
_RESTART_SECONDS = 0.2
_CHECK_SECONDS = 0.02
_SERVICE = "perstack"
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where Squid keeps its segments


class SquidFailed(RuntimeError):
    """Squid does not run; the text says what it said."""


class SquidProcess:
    """Squid behind the gate, in a folder of its own.

    Args:
        program: Path of the `squid` program.
        folder: Existing folder for its file, which Squid's user can read; it writes nothing else.
        policy: The decided policy.
        audit: Takes what Squid says of each connection.
        first_port: Port on loopback of the first skill.
    """

    def __init__(
        self, program: str, folder: str, policy: Policy, *, audit: Audit, first_port: int = FIRST_PORT
    ) -> None:
        self._program = program
        self._first_port = first_port
        self._policy = policy
        self._audit = audit
        self._log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._log.bind(("127.0.0.1", 0))
        self._file = os.path.join(folder, "squid.conf")
        log = f"udp://127.0.0.1:{self._log.getsockname()[1]}"
        self._user = _ordinary_user() if os.geteuid() == 0 else None
        self._write(squid_config(policy, first_port=first_port, log=log))
        self._process: subprocess.Popen[bytes] | None = None
        self._service = f"{_SERVICE}{os.getpid()}"  # also of its shared memory, which two of one name would share
        self._stopping = threading.Event()
        self._known = threading.Event()  # whether the first Squid came up
        self._said = ""

    def dialer(self, at: int) -> SquidDialer:
        """The way of the skill at this place of the policy."""
        return SquidDialer(self._first_port + at, parent=self._policy.parent)

    def start(self) -> None:
        """Squid answers.

        Raises:
            SquidFailed: It does not, or ended.
        """
        if not self._policy.listeners:
            return  # Squid does not start without a port
        _unlink_what_others_left()
        # One thread for Squid's whole life: the kernel ends it with the thread that started it.
        threading.Thread(target=self._keep_running, daemon=True).start()
        threading.Thread(target=self._read_log, daemon=True).start()
        self._known.wait(_START_SECONDS)
        if self._said or not self._known.is_set():
            self.stop()
            raise SquidFailed(f"{self._program} did not start: {self._said or 'it does not listen'}")

    def stop(self) -> None:
        """Squid is gone."""
        self._stopping.set()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._unlink_shared_memory()
        self._log.close()

    def _write(self, text: str) -> None:
        """The file is for Squid's user alone: it may hold a password."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._file)
        with open(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            if self._user is not None:
                shutil.chown(self._file, self._user)
            file.write(text)

    def _keep_running(self) -> None:
        import ctypes  # noqa: F401 - the child, whose user may not read our files, finds it loaded

        parent = os.getpid()

        def die_too() -> None:
            die_with_parent()
            if os.getppid() != parent:
                os._exit(1)

        command = [self._program, "-N", "-n", self._service, "-d", "0", "-f", self._file]
        while not self._stopping.is_set():
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    user=self._user,
                    extra_groups=None if self._user is None else [],
                    preexec_fn=die_too if sys.platform == "linux" else None,  # noqa: PLW1509 - a prctl, nothing else
                )
            except (OSError, subprocess.SubprocessError) as error:
                self._said = str(error)
                self._known.set()
                return
            if self._listens(self._process):
                self._unlink_shared_memory()
                self._known.set()
            _, said = self._process.communicate()
            if not self._stopping.is_set():
                last = said.decode(errors="replace").strip().splitlines()[-1:]
                with contextlib.suppress(AuditLost):
                    self._audit.line("squid-ended", status=self._process.returncode, message="".join(last)[:500])
                self._said = "".join(last) or f"it ended with {self._process.returncode}"
                self._known.set()
                self._stopping.wait(_RESTART_SECONDS)

    def _listens(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether Squid answers, before it ends or takes too long."""
        deadline = monotonic() + _START_SECONDS
        while process.poll() is None and monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._first_port), timeout=1):
                return True
            sleep(_CHECK_SECONDS)
        return False

    def _unlink_shared_memory(self) -> None:
        """Squid keeps what it has opened; a file would outlive both of us if we were killed."""
        for left in glob.glob(f"{_SHARED_MEMORY}/{self._service}-*"):
            os.unlink(left)

    def _read_log(self) -> None:
        with contextlib.suppress(OSError, AuditLost):
            while data := self._log.recv(64 * 1024):
                for text in data.decode("ascii", "replace").splitlines():
                    self._record(text)

    def _record(self, text: str) -> None:
        line = read_log(text)
        if line is None:
            return
        checked = line.address and self._policy.parent is None
        purpose = special_purpose(line.address) if checked else None
        self._audit.line(
            SECOND_GATE,
            via=line.via,
            status=line.status,
            address=line.address,
            bytes=line.bytes,
            seconds=line.milliseconds / 1000,
            tag=line.tag,
            special=purpose,
        )


def _unlink_what_others_left() -> None:
    """The segments of a gate that was killed before its Squid listened are gone."""
    for left in glob.glob(f"{_SHARED_MEMORY}/{_SERVICE}[0-9]*-*"):
        pid = os.path.basename(left).partition("-")[0].removeprefix(_SERVICE)
        if pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):  # another user's
                os.unlink(left)


def _ordinary_user() -> str:
    """Whom Squid runs as when we are root. It must not change its user itself: the kernel then forgets to end it."""
    import pwd

    for name in ("proxy", "squid", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise SquidFailed("there is no user 'proxy', 'squid' or 'nobody' for Squid to run as")
