"""One client from its first byte to an open tunnel, or to a denial that says why.

The order is fixed: the request's grammar, the name, the port, the budgets, the address, the record, the answer, the
ClientHello. Nothing of the client's goes out before all of them agree.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from perstack_proxy import clienthello
from perstack_proxy.audit import AuditLost
from perstack_proxy.clienthello import HelloError, HelloReader
from perstack_proxy.connect import ConnectError, read_connect
from perstack_proxy.dialer import UNREACHABLE, Dialed, DialError
from perstack_proxy.limits import DIAL_SECONDS, HANDSHAKE_SECONDS
from perstack_proxy.linger import OPEN, linger
from perstack_proxy.relay import FAILED, SPENT, Bounds, Ended
from perstack_proxy.rules import Verdict
from perstack_proxy.skill import Denied, Request, Skill

SLOW = "slow"
INTERNAL = "internal"

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_READ_BYTES = 16 * 1024
_PHRASES = {
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    505: "HTTP Version Not Supported",
}


class Carry(Protocol):
    """Takes both sockets of a tunnel over, and tells how it ended."""

    def __call__(
        self, client: socket.socket, host: socket.socket, *, bounds: Bounds, rule: str, on_end: Callable[[Ended], None]
    ) -> None:
        """Bytes flow from now on, until `on_end` is called."""


def serve(client: socket.socket, skill: Skill, carry: Carry) -> None:
    """The client has its tunnel, or its denial and no connection.

    Args:
        client: Connected and blocking; it has entered the skill's ledger.
        skill: Who it is, known from where it connected.
        carry: Takes the tunnel over. It may call back from any thread.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(skill.ledger.leave)
        undo.callback(client.close)
        handshake = _Handshake(client, skill, undo)
        try:
            handshake.run(carry)
        except Denied as denied:
            handshake.deny(denied)
        except AuditLost:
            pass  # what cannot be recorded does not happen
        except OSError:
            handshake.deny(Denied(Verdict(FAILED, "the client or the host went away"), status=502))
        except Exception:  # noqa: BLE001 - a check that raises is a denial
            handshake.deny(Denied(Verdict(INTERNAL, "the gate failed to decide"), status=500))


class _Handshake:
    """What is known of the client so far."""

    def __init__(self, client: socket.socket, skill: Skill, undo: contextlib.ExitStack) -> None:
        self._client = client
        self._skill = skill
        self._undo = undo
        self._request = Request()
        self._opened: int | None = None
        self._ended = Ended(FAILED, 0, 0)
        self._silent = True

    def run(self, carry: Carry) -> None:
        early = self._read_request()
        if early is None:
            return
        request, skill = self._request, self._skill
        verdict = skill.admit(request)
        self._undo.callback(skill.ledger.close, request.host)
        dialed = self._dial(verdict)
        self._undo.callback(dialed.socket.close)
        opened = skill.record_open(request, verdict, address=dialed.address, via=dialed.via)
        self._opened = opened
        self._undo.callback(self._close, opened, monotonic())
        self._client.sendall(_ESTABLISHED)
        bounds = skill.bounds(request.host)
        dialed.socket.settimeout(DIAL_SECONDS)
        self._pass(self._read_hello(HelloReader(), early, verdict), dialed.socket, bounds, verdict)
        while self._pass_answer(dialed.socket, bounds, verdict):
            self._pass(self._read_hello(HelloReader(again=True), b"", verdict), dialed.socket, bounds, verdict)
        if not self._linger(dialed.socket, bounds):
            return
        undo, before = self._undo.pop_all(), self._ended

        def end(ended: Ended) -> None:
            self._ended = Ended(ended.reason, before.up + ended.up, before.down + ended.down)
            undo.close()

        carry(self._client, dialed.socket, bounds=bounds, rule=verdict.rule, on_end=end)

    def _linger(self, host: socket.socket, bounds: Bounds) -> bool:
        """Whether the tunnel goes on after its first moments."""
        self._client.settimeout(DIAL_SECONDS)
        passed = linger(self._client, host, bounds.meter)
        self._ended = Ended(passed.reason or FAILED, self._ended.up + passed.up, self._ended.down + passed.down)
        return passed.reason == OPEN

    def deny(self, denied: Denied) -> None:
        """The denial is recorded, then answered in the language that the client speaks by now."""
        if self._silent:
            return
        with contextlib.suppress(AuditLost):
            self._skill.record_deny(self._request, denied.verdict, opened=self._opened)
        self._ended = self._ended._replace(reason=denied.verdict.code)
        with contextlib.suppress(OSError):
            self._client.settimeout(1.0)
            if self._opened is None:
                self._client.sendall(response(denied, self._request))
            else:
                self._client.sendall(clienthello.alert(denied.alert or clienthello.ACCESS_DENIED))
            self._client.shutdown(socket.SHUT_WR)

    def _read_request(self) -> bytes | None:
        """What followed the request, or None if the client left without a word."""
        data = bytearray()
        deadline = monotonic() + HANDSHAKE_SECONDS
        while True:
            received = self._receive(deadline, "the request took too long")
            if not received:
                if data:
                    raise Denied(Verdict(FAILED, "the request ended early"), status=400)
                return None
            self._silent = False
            data += received
            try:
                found = read_connect(data)
            except ConnectError as error:
                raise Denied(Verdict(error.code, str(error)), status=error.status) from None
            if found is not None:
                self._request = Request(found.host, found.port)
                return bytes(data[found.length :])

    def _dial(self, verdict: Verdict) -> Dialed:
        try:
            return self._skill.dialer.dial(*self._request, seconds=DIAL_SECONDS)
        except DialError as error:
            raise Denied(verdict._replace(code=error.code, reason=str(error)), status=error.status) from None

    def _pass(self, hello: bytes, host: socket.socket, bounds: Bounds, verdict: Verdict) -> None:
        """The hello is the host's, and counted."""
        if len(hello) > bounds.meter.left(up=True):
            raise Denied(verdict._replace(code=SPENT, reason="no bytes are left in the budget"))
        bounds.meter.spend(len(hello), up=True)
        host.sendall(hello)
        self._ended = self._ended._replace(up=self._ended.up + len(hello))

    def _pass_answer(self, host: socket.socket, bounds: Bounds, verdict: Verdict) -> bool:
        """The host's first answer is the client's, and counted. Whether it asks for another hello."""
        answer, again = b"", None
        try:
            while again is None and (received := host.recv(_READ_BYTES)):
                answer += received
                again = clienthello.asks_again(answer)
        except TimeoutError:
            raise Denied(verdict._replace(code=UNREACHABLE, reason="the host does not answer the hello")) from None
        except HelloError as error:
            raise Denied(verdict._replace(code=error.code, reason=str(error)), alert=error.alert) from None
        bounds.meter.spend(len(answer), up=False)
        self._client.sendall(answer)
        self._ended = self._ended._replace(down=self._ended.down + len(answer))
        return bool(again)

    def _read_hello(self, reader: HelloReader, early: bytes, verdict: Verdict) -> bytes:
        """Everything that the client sent, of which the ClientHello agrees with the request."""
        deadline = monotonic() + HANDSHAKE_SECONDS
        data = early
        try:
            while (hello := reader.feed(data)) is None:
                data = self._receive(deadline, "the ClientHello took too long")
                if not data:
                    raise Denied(verdict._replace(code=FAILED, reason="the client left before its ClientHello"))
            if hello.server_name != self._request.host:
                reason = f"the server name {hello.server_name!r} is not the {self._request.host!r} that was asked for"
                raise HelloError(clienthello.OTHER_NAME, reason, alert=clienthello.UNRECOGNIZED_NAME)
        except HelloError as error:
            raise Denied(verdict._replace(code=error.code, reason=str(error)), alert=error.alert) from None
        return bytes(reader.data)

    def _receive(self, deadline: float, reason: str) -> bytes:
        try:
            self._client.settimeout(max(deadline - monotonic(), 0.001))
            return self._client.recv(_READ_BYTES)
        except TimeoutError:
            raise Denied(Verdict(SLOW, reason), status=408) from None

    def _close(self, opened: int, since: float) -> None:
        with contextlib.suppress(AuditLost):
            seconds = monotonic() - since
            self._skill.record_close(self._request, self._ended, opened=opened, seconds=seconds)


def response(denied: Denied, request: Request) -> bytes:
    """The denial as an HTTP answer with a JSON body."""
    verdict = denied.verdict
    what = f"CONNECT {request.host}:{request.port}" if request.host else "the request"
    body = json.dumps(
        {
            "error": "egress-denied",
            "code": verdict.code,
            "what": what,
            "why": verdict.reason,
            "rule": verdict.rule or None,
            "origin": verdict.origin or None,
            "change": verdict.change,
        },
        indent=2,
    ).encode()
    head = (
        f"HTTP/1.1 {denied.status} {_PHRASES[denied.status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
