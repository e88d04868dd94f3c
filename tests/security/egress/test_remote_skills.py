"""Remote skills behind the gate: the endpoints that our own transport refuses, the gate refuses as well."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from gates import GateProcess, SkillEntry, gate
from perstack.errors import SkillError
from perstack.outbound.transport import INTERNET, Reach
from perstack.testing.fnet.internet import Internet
from perstack.testing.fnet.servers import REDIRECT
from remote_server import HttpServer, connected, https

HOST = "mcp.moving.example.com"
AWAY = "away.moving.example.com"
PUBLIC, OTHER = "93.184.216.50", "93.184.216.51"
ADDRESSES = """
    10.1.2.3 172.16.0.1 192.168.1.1 127.0.0.1 127.255.255.254 169.254.169.254 100.100.100.200 0.0.0.0 100.64.0.1
    198.18.0.1 224.0.0.1 255.255.255.255 ::1 :: fe80::1 fd00:ec2::254 ::ffff:10.0.0.1 ::ffff:169.254.169.254
    64:ff9b::a00:1 2002:a00:1:: fec0::1 ff02::1
"""
LITERALS = """
    https://[::1]/mcp https://127.0.0.1/mcp https://127.1/mcp https://2130706433/mcp https://0x7f000001/mcp
    https://169.254.169.254/mcp https://[::ffff:10.0.0.1]/mcp https://[::ffff:7f00:1]/mcp https://10.0.0.1/mcp
    https://localhost/mcp https://localhost./mcp https://a.localhost/mcp https://metadata.google.internal/mcp
    https://mcp.moving.example.com:8443/mcp https://mcp.moving.example.com:22/mcp https://93.184.216.50/mcp
    https://xmcp.moving.example.com/mcp https://mcp.moving.example.com.evil.example.org/mcp
"""


@dataclass(frozen=True, kw_only=True)
class Far:
    """An MCP server in the fake internet, and the gate that leads there."""

    internet: Internet
    gate: GateProcess
    server: HttpServer

    async def works(self) -> bool:
        async with self.session(f"https://{HOST}/mcp") as session:
            return bool(session.tools) and bool(self.server.received)

    def session(self, endpoint: str):
        tls = ssl.create_default_context(cafile=str(self.internet.authority))
        way = Reach(refusal=INTERNET.refusal, tls=lambda: tls)
        return connected(endpoint, way=way, gate=self.gate.socket("far"), handshake_seconds=20)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    server = HttpServer()
    with Internet(tmp_path_factory.mktemp("fnet"), names=[HOST, AWAY]) as internet:
        internet.name(HOST, [PUBLIC])
        internet.site(AWAY, OTHER)
        internet.pages["/mcp"] = (f"{REDIRECT}307", b"https://169.254.169.254/latest/meta-data")
        internet.namespace.add_address(PUBLIC)
        for address in ("10.0.0.1", "169.254.169.254", "127.0.0.1"):
            internet.serve(address)
        listening = internet.namespace.inside(lambda: socket.create_server((PUBLIC, 443)))
        with (
            https(server.app(), pem=internet.certificate, listening=listening),
            gate(internet, SkillEntry(name="far", domains=[HOST, AWAY])) as process,
        ):
            yield Far(internet=internet, gate=process, server=server)


@pytest.fixture
def far(running: Far) -> Far:
    running.gate.forget()
    running.internet.forget()
    running.server.received.clear()
    running.internet.name(HOST, [PUBLIC])
    return running


@pytest.mark.parametrize("address", ADDRESSES.split())
async def test_AN15_W_21_an_endpoint_that_leads_to_an_address_that_is_not_public_gets_no_byte(far: Far, address: str):
    far.internet.name(HOST, [address])
    with pytest.raises(SkillError, match="not on the public internet"):
        async with far.session(f"https://{HOST}/mcp"):
            pass
    assert far.internet.arrivals == []
    assert far.server.received == []
    assert far.gate.wait_for("deny", 1)[0]["verdict"] == "address"
    far.internet.name(HOST, [PUBLIC])
    assert await far.works()


@pytest.mark.parametrize("endpoint", LITERALS.split())
async def test_AN15_W_21_an_endpoint_in_another_spelling_or_at_another_port_is_refused_before_any_lookup(
    far: Far, endpoint: str
):
    with pytest.raises(SkillError):
        async with far.session(endpoint):
            pass
    assert far.internet.arrivals == []
    assert far.server.received == []
    assert far.internet.queries == []
    assert far.gate.of("open") == []
    assert await far.works()


async def test_AN14_one_private_address_among_public_ones_refuses_the_endpoint(far: Far):
    far.internet.name(HOST, [PUBLIC, "10.0.0.1"])
    with pytest.raises(SkillError, match="not on the public internet"):
        async with far.session(f"https://{HOST}/mcp"):
            pass
    assert (far.internet.arrivals, far.server.received) == ([], [])
    far.internet.name(HOST, [PUBLIC])
    assert await far.works()


async def test_AN15_a_redirect_to_the_metadata_server_is_not_followed(far: Far):
    with pytest.raises(SkillError):
        async with far.session(f"https://{AWAY}/mcp"):
            pass
    assert {arrival.address for arrival in far.internet.arrivals} == {OTHER}
    assert [arrival.requests for arrival in far.internet.arrivals if arrival.requests] != []
    assert {line["host"] for line in far.gate.of("open")} == {AWAY}
    assert await far.works()
