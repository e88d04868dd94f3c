"""The gate: a unix socket for each skill, and no way around any of them.

The socket is the identity. The loop's thread accepts and carries; each client has a thread of its own for the time of
its handshake; whoever reads the control channel calls `switch` and `stop`.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from time import monotonic, sleep

from perstack_proxy.audit import Audit, AuditLost
from perstack_proxy.budgets import BudgetSpent
from perstack_proxy.control import ControlError, Grant, Listener
from perstack_proxy.dialer import Dialer
from perstack_proxy.handover import NoPort, accept_at, receive
from perstack_proxy.handshake import response, serve
from perstack_proxy.linger import LINGER_SECONDS
from perstack_proxy.loop import READ, Loop
from perstack_proxy.relay import STOPPED, Bounds, Ended, Relay, Tunnel
from perstack_proxy.rules import GRANT, Verdict
from perstack_proxy.skill import Denied, Request, Skill

PEER = "peer"

_BACKLOG = 128
#: For handshakes that are under way when the gate stops. A host that does not answer must not hold it up.
_ENDING_SECONDS = 1.0
_CHECK_SECONDS = 0.005
#: Enough for a handshake's few frames; the default of 8 MiB is reserved for each thread.
_STACK_BYTES = 256 * 1024


class Gate:
    """Listens from the moment that it is made, serves while it runs.

    Args:
        listeners: The decided policy.
        audit: Takes the record.
        dialer: The way to hosts for each skill, by its place in `listeners`.

    Raises:
        OSError: A socket cannot be made.
    """

    def __init__(self, listeners: Sequence[Listener], *, audit: Audit, dialer: Callable[[int], Dialer]) -> None:
        self._loop = Loop()
        self._relay = Relay(self._loop)
        self._rules: dict[Tunnel, tuple[Skill, str]] = {}
        self._skills: dict[str, Skill] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._keys: dict[Skill, str] = {}
        self._owners: list[socket.socket] = []
        self._handshakes: set[socket.socket] = set()
        try:
            for at, listener in enumerate(listeners):
                skill = Skill(listener.rules, audit=audit, dialer=dialer(at))
                self._skills[listener.rules.name] = skill
                if listener.key:
                    self._keys[skill] = listener.key
                self._listen(listener, skill)
        except BaseException:
            self.close()
            raise

    def run(self) -> None:
        """Serve until `stop`; every tunnel is closed afterwards."""
        threading.stack_size(_STACK_BYTES)
        try:
            self._loop.run()
        finally:
            self.close()
            self._end_handshakes()
            self._loop.run_calls()
            self._relay.end_all(STOPPED)
            self._loop.close()

    def stop(self) -> None:
        """`run` returns, soon. From any thread."""
        self._loop.stop()

    def switch(self, grant: Grant) -> None:
        """An existing entry is on, or off and its tunnels are closed. From any thread.

        Raises:
            ControlError: There is no such skill or entry.
            AuditLost: It cannot be recorded.
        """
        skill = self._skills.get(grant.skill)
        if skill is None:
            raise ControlError(f"the policy has no skill {grant.skill!r}")
        skill.switch(grant)
        self._loop.call(self._end_ungranted)

    def close(self) -> None:
        """Nobody is listened to any more."""
        for path, listening in self._sockets.items():
            listening.close()
            with contextlib.suppress(OSError):
                os.unlink(path)
        self._sockets.clear()
        for owner in list(self._owners):
            with contextlib.suppress(OSError):
                owner.shutdown(socket.SHUT_RDWR)

    def _listen(self, listener: Listener, skill: Skill) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(listener.socket)  # of a gate that was killed
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sockets[listener.socket] = listening
        listening.bind(listener.socket)
        # Others may connect only where the policy names them, and are then checked by what the kernel says they are.
        os.chmod(listener.socket, 0o666 if listener.uids else 0o600)
        listening.listen(_BACKLOG)
        listening.settimeout(0)
        uids = listener.uids or frozenset({os.geteuid()})
        self._loop.watch(listening, READ, lambda _: self._accept(listening, skill, uids))

    def _accept(self, listening: socket.socket, skill: Skill, uids: frozenset[int]) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            client, _ = listening.accept()
            client.settimeout(None)
            uid = peer_uid(client)
            if uid is None or uid in uids:
                self._admit(client, skill, self._take_port if skill in self._keys else self._serve)
                return
            client.close()
            with contextlib.suppress(AuditLost):
                skill.record_deny(Request(), Verdict(PEER, f"user {uid} may not use this socket"))

    def _admit(self, client: socket.socket, skill: Skill, serve: Callable[[socket.socket, Skill], None]) -> None:
        try:
            skill.ledger.enter()
        except BudgetSpent as error:
            denied = Denied(Verdict(error.code, str(error)), status=429)
            with client, contextlib.suppress(OSError):
                client.settimeout(0)
                client.send(response(denied, Request()))
            with contextlib.suppress(AuditLost):
                skill.record_deny(Request(), denied.verdict)
            return
        self._handshakes.add(client)
        # Thread.start() waits until the thread runs, and everything on this thread waits with it.
        _thread.start_new_thread(serve, (client, skill))

    def _serve(self, client: socket.socket, skill: Skill) -> None:
        try:
            serve(client, skill, self._carrier(skill))
        finally:
            self._handshakes.discard(client)

    def _take_port(self, client: socket.socket, skill: Skill) -> None:
        """The client gives its port away, once, or is served like any other."""
        port = None
        with contextlib.suppress(NoPort):
            port = receive(client, self._keys.get(skill, ""))
            if port is None:
                self._serve(client, skill)
                return
        self._keys.pop(skill, None)
        self._handshakes.discard(client)
        skill.ledger.leave()
        with client:
            if port is not None:
                self._owners.append(client)
                accept_at(port, client, lambda accepted: self._admit(accepted, skill, self._serve))

    def _end_handshakes(self) -> None:
        """Whoever still waits for a client is told that it left, so that each opened tunnel has its last line.

        Tunnels in their first moments come to the loop before that, which ends them with the others.
        """
        deadline = monotonic() + 2 * LINGER_SECONDS
        while self._handshakes and monotonic() < deadline:
            sleep(_CHECK_SECONDS)
        deadline = monotonic() + _ENDING_SECONDS
        for client in list(self._handshakes):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        while self._handshakes and monotonic() < deadline:
            sleep(_CHECK_SECONDS)

    def _carrier(self, skill: Skill) -> Callable[..., None]:
        def carry(
            client: socket.socket, host: socket.socket, *, bounds: Bounds, rule: str, on_end: Callable[[Ended], None]
        ) -> None:
            self._loop.call(lambda: self._add(skill, client, host, bounds, rule, on_end))

        return carry

    def _add(
        self,
        skill: Skill,
        client: socket.socket,
        host: socket.socket,
        bounds: Bounds,
        rule: str,
        on_end: Callable[[Ended], None],
    ) -> None:
        def end(ended: Ended) -> None:
            self._rules.pop(tunnel, None)
            on_end(ended)

        tunnel = self._relay.add(client, host, bounds=bounds, on_end=end)
        self._rules[tunnel] = skill, rule
        if not skill.holds(rule):  # switched off during the handshake
            tunnel.end(GRANT)

    def _end_ungranted(self) -> None:
        for tunnel, (skill, rule) in list(self._rules.items()):
            if not skill.holds(rule):
                tunnel.end(GRANT)


def peer_uid(client: socket.socket) -> int | None:
    """The user that connected, as the kernel saw it, or None where the kernel does not say."""
    if sys.platform != "linux":
        return None
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
