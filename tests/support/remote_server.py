"""MCP servers over https on the loopback interface, with a certificate authority of their own."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from memory_server import ANY_OBJECT
from perstack.outbound.transport import Reach
from perstack.protocols import Access, ConnectRequest
from perstack.skill_policy import BUILT_IN, HeaderGrant, SkillPolicy
from perstack.testing.waiting import eventually
from perstack.tools.remote.session import RemoteSession
from perstack.tools.remote.transport import Kind, RemoteTransport
from perstack_proxy.addresses import special_purpose
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

HOST = "mcp.example.test"
Json = dict[str, object]


@cache
def certificate() -> Path:
    """A file with a certificate for `HOST`, which is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = Path(mkdtemp(prefix="certificate-")) / "pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@contextmanager
def https(
    app: object, *, tls: bool = True, pem: Path | None = None, listening: socket.socket | None = None
) -> Iterator[int]:
    """The port on which `app` is served: on loopback, or by a socket that listens elsewhere."""
    pem = pem or certificate()
    files = {"ssl_keyfile": pem, "ssl_certfile": pem} if tls else {}
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="critical", ws="none", timeout_graceful_shutdown=1, **files
    )
    server = uvicorn.Server(config)

    async def serve() -> None:
        await server.serve([listening] if listening is not None else None)
        # A TLS connection that its client dropped lingers, and would be reported as leaked.
        for transport in list(asyncio.get_running_loop()._transports.values()):
            transport.abort()
        await asyncio.sleep(0)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    eventually(lambda: server.started, "the server listens")
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


async def to_loopback(_host: str, _port: int) -> Sequence[str]:
    return ("127.0.0.1",)


def loopback_is_public(address: str) -> str | None:
    return None if ipaddress.ip_address(address).is_loopback else special_purpose(address)


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate())


def reach(**parts: object) -> Reach:
    """A way to servers on the loopback interface; `parts` replace what a test is about."""
    return Reach(**{"resolve": to_loopback, "refusal": loopback_is_public, "tls": trusting, **parts})


@dataclass
class Told:
    """What a session reported."""

    violations: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    accesses: list[Access] = field(default_factory=list)


@asynccontextmanager
async def connected(
    endpoint: str,
    *,
    kind: Kind = "http",
    told: Told | None = None,
    way: Reach | None = None,
    headers: Mapping[str, str] = {},
    env: Mapping[str, str] = {},
    handshake_seconds: float = 10.0,
    elicit: object = None,
    complete: object = None,
    gate: str | None = None,
    **policy: object,
) -> AsyncIterator[RemoteSession]:
    told = told or Told()
    request = ConnectRequest(
        policy=SkillPolicy(
            expert="tester",
            skill="remote",
            kind="mcpHttpSkill",
            origin=BUILT_IN,
            endpoint=endpoint,
            headers=tuple(HeaderGrant(name=name, template=text, origin=BUILT_IN) for name, text in headers.items()),
            **policy,
        ),
        process=None,
        workspace=Path("/workspace"),
        violation=told.violations.append,
        notice=told.notices.append,
        access=told.accesses.append,
        env=env,
        gate=gate,
        elicit=elicit,
        complete=complete,
    )
    transport = RemoteTransport(kind, reach=way or reach(), handshake_seconds=handshake_seconds)
    async with transport.connect(request) as session:
        yield session


@dataclass
class HttpServer:
    """A Streamable HTTP server that is a function of each message. `on` replaces the answer to one method."""

    on: dict[str, Callable[[Json], Response | Json]] = field(default_factory=dict)
    tools: list[Json] = field(default_factory=lambda: [{"name": "tool", "inputSchema": ANY_OBJECT}])
    received: list[Json] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/mcp", self._post, methods=["POST"])])

    def methods(self) -> list[object]:
        return [message.get("method") for message in self.received]

    async def _post(self, request: Request) -> Response:
        message = json.loads(await request.body())
        self.received.append(message)
        self.headers.append(dict(request.headers))
        reaction = self.on.get(str(message.get("method")), self._react)(message)
        if isinstance(reaction, Response):
            return reaction
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], **reaction})

    def _react(self, message: Json) -> Response | Json:
        method = message.get("method")
        if "id" not in message:
            return Response(status_code=202)
        if method == "initialize":
            info = {"name": "http", "version": "1"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
            return {"result": result}
        if method == "tools/list":
            return {"result": {"tools": self.tools}}
        if method == "tools/call":
            return {"result": {"content": [{"type": "text", "text": json.dumps(message["params"])}]}}
        return {"error": {"code": -32601, "message": "no such method"}}

    @contextmanager
    def served(self) -> Iterator[str]:
        """The endpoint."""
        with https(self.app()) as port:
            yield f"https://{HOST}:{port}/mcp"
