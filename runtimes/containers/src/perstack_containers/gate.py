"""The egress container of one run: its first process is that of every sandbox, and what it starts is the gate.

Everything here blocks and is called from worker threads: the container belongs to the run and not to the task of the
skill that happened to need it first.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from perstack.errors import SandboxUnavailable
from perstack_proxy.sanitise import sanitise_line

from perstack_containers.enforced import Evidence
from perstack_containers.http import EngineFailure
from perstack_containers.spec import BASELINE_ENV, create_body
from perstack_containers.streams import HEADER_BYTES, STDERR, STDOUT

if TYPE_CHECKING:
    from perstack.messages import JsonObject

    from perstack_containers.engine import ContainerEngine
    from perstack_containers.spec import ContainerSpec

GATE = ("python3", "-E", "-P", "-m", "perstack_proxy", "gate", "--squid", "/usr/sbin/squid", "--folder", "/tmp")  # noqa: S108 - its own
START_SECONDS = 60.0
"""For each line on the way up. All of them need half a second; a loaded machine needs more."""
END_SECONDS = 3.0
"""For tunnels to be closed and told of, once the input has ended."""
LINE_BYTES = 1024 * 1024
WORDS_BYTES = 4096


class Gate:
    """An egress container that serves; see `start`."""

    def __init__(self, engine: ContainerEngine, container: str, connection: socket.socket) -> None:
        self._engine = engine
        self._container = container
        self._connection = connection
        self._lines = _Lines(connection)
        self._reader: threading.Thread | None = None
        self._decided = threading.Event()
        self._serves = False
        self._closing = False

    @classmethod
    def start(cls, engine: ContainerEngine, spec: ContainerSpec) -> tuple[Gate, Evidence]:
        """A container in which the gate waits for its policy, and what was read back of it.

        Raises:
            SandboxUnavailable: It could not be started; nothing of it is left.
        """
        container = ""
        try:
            container = engine.create(create_body(spec, engine.dialect))
            gate = cls(engine, container, engine.attach(container))
        except EngineFailure as error:
            with suppress(EngineFailure):
                if container:
                    engine.remove(container)
            raise _unavailable(str(error)) from error
        try:
            return gate, gate._started()
        except BaseException:
            gate.close()
            raise

    def _started(self) -> Evidence:
        self._connection.settimeout(START_SECONDS)
        try:
            self._order({"argv": list(GATE), "env": dict(BASELINE_ENV), "cwd": "/"})  # nothing of it is a secret
            self._engine.start(self._container)
            facts = self._answer("facts")
            evidence = Evidence(
                facts=facts if isinstance(facts, dict) else {}, state=self._engine.inspect(self._container)
            )
            if self._answer("started") is not True:
                raise _unavailable("its image has no gate")
        except (EngineFailure, OSError, ValueError) as error:
            raise _unavailable(f"{error} {self._lines.words}") from error
        return evidence

    def serve(self, policy: bytes) -> None:
        """The gate has its policy, and with it the password of a parent proxy.

        Raises:
            SandboxUnavailable: It is gone.
        """
        try:
            self._connection.sendall(policy)
        except OSError as error:
            raise _unavailable(f"{error} {self._lines.words}") from error
        self._connection.settimeout(None)

    def _answer(self, key: str) -> object:
        line = next(self._lines, b"")
        answer = json.loads(line or b"{}")
        if not isinstance(answer, dict) or key not in answer:
            raise ValueError("its first process is not perstack's own")
        return answer[key]

    def _order(self, order: JsonObject) -> None:
        data = json.dumps(order).encode()
        self._connection.sendall(b"%08x%b" % (len(data), data))

    def watch(self, take: Callable[[bytes], None], ended: Callable[[str], None]) -> None:
        """Each line of the audit is taken, on a thread of its own, until the container ends.

        Args:
            take: Called in order; tunnels wait while it does.
            ended: Called once with the gate's last words if it ended by itself.
        """

        def run() -> None:
            try:
                for line in self._lines:
                    take(line)
                    self._serves = True  # its first line says that every socket listens
                    self._decided.set()
                if not self._closing:
                    ended(self._lines.words)
            except RuntimeError:
                return  # the event loop is gone, and the run with it
            finally:
                self._decided.set()

        self._reader = threading.Thread(target=run, daemon=True, name="perstack-egress")
        self._reader.start()

    def wait(self) -> None:
        """The gate takes connections; they wait for Squid, whose failure ends the gate.

        Raises:
            SandboxUnavailable: It does not.
        """
        self._decided.wait(START_SECONDS)
        if not self._serves:
            raise _unavailable(f"the gate does not serve: {self._lines.words or 'it says nothing'}")

    def close(self) -> None:
        """Every tunnel was closed and told of, and the container is gone."""
        self._closing = True
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        if self._reader is not None:
            self._reader.join(END_SECONDS)
        with suppress(EngineFailure):
            self._engine.remove(self._container)
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        if self._reader is not None:
            self._reader.join(END_SECONDS)
        self._connection.close()


class _Lines:
    """The lines of the container's standard output; what it last said on standard error is kept beside them."""

    def __init__(self, connection: socket.socket) -> None:
        self._source = connection.makefile("rb")
        self._ready: list[bytes] = []
        self._part = b""
        self._words = b""

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while not self._ready:
            self._read_frame()
        return self._ready.pop(0)

    @property
    def words(self) -> str:
        """What it last said on standard error, safe to show."""
        return sanitise_line(self._words.decode("utf-8", "replace").strip())

    def _read_frame(self) -> None:
        try:
            header = self._source.read(HEADER_BYTES)
            data = self._source.read(int.from_bytes(header[4:], "big")) if len(header) == HEADER_BYTES else b""
        except TimeoutError:
            raise
        except OSError:
            data = b""
        if not data:
            raise StopIteration
        if header[0] == STDERR:
            self._words = (self._words + data)[-WORDS_BYTES:]
        elif header[0] == STDOUT:
            *whole, self._part = (self._part + data).split(b"\n")
            self._ready += whole
            if len(self._part) > LINE_BYTES:
                raise StopIteration


def _unavailable(reason: str) -> SandboxUnavailable:
    return SandboxUnavailable(
        f"The egress container could not be started: {sanitise_line(reason)}",
        hint="Choose the network that it joins with [egress] in your own settings; see: perstack doctor",
    )
