"""Perstack's own connections: only to granted places, at checked addresses, each one told before a byte is sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest
from gates import SkillEntry, gate_here
from perstack.errors import ProviderError
from perstack.model_http import ModelClient
from perstack.outbound.gate import through_gate
from perstack.outbound.grants import covering, origin_of, parse_grant
from perstack.outbound.transport import Blocked, GuardedTransport, trusting
from perstack.protocols import Access
from perstack.specs import HostGrant, Network
from perstack.testing.model_server import ModelServer, Turn
from remote_server import HOST, HttpServer, https, reach, to_loopback


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api.example.com", HostGrant(host="api.example.com")),
        ("API.Example.com.", HostGrant(host="api.example.com")),
        ("*.example.com", HostGrant(host="*.example.com")),
        ("https://api.example.com", HostGrant(host="api.example.com")),
        ("https://api.example.com:8443", HostGrant(host="api.example.com", port=8443)),
        ("http://localhost:11434", HostGrant(host="localhost", port=11434, tls=False)),
        ("http://[::1]:80/", HostGrant(host="::1", port=80, tls=False)),
        ("http://169.254.169.254", HostGrant(host="169.254.169.254", port=80, tls=False)),
    ],
)
def test_a_grant_is_a_host_a_pattern_or_an_origin(text: str, expected: HostGrant) -> None:
    assert parse_grant(text) == expected
    assert parse_grant(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "*", "*.com", "*.co.uk", "a b", "a/b", "-a", "a..b", "x" * 254, "ftp://a", "https://a/b", "https://u@a", "é"],
)
def test_anything_else_is_no_grant(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_grant(text)


def test_a_grant_covers_its_own_host_port_and_scheme_alone() -> None:
    grants = [parse_grant("api.example.com"), parse_grant("*.eu.example.com"), parse_grant("http://localhost:11434")]

    def covered(scheme: str, host: str, port: int) -> bool:
        return covering(grants, scheme=scheme, host=host, port=port) is not None

    assert covered("https", "API.example.com.", 443)
    assert covered("https", "x.eu.example.com", 443)
    assert covered("http", "localhost", 11434)
    for refused in (
        ("http", "api.example.com", 443),
        ("https", "api.example.com", 8443),
        ("https", "xapi.example.com", 443),
        ("https", "api.example.com.evil.example.org", 443),
        ("https", "eu.example.com", 443),
        ("https", "xeu.example.com", 443),
        ("https", "localhost", 11434),
        ("http", "localhost", 80),
        ("http", "127.0.0.1", 11434),
    ):
        assert not covered(*refused)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.example.com/v1", "api.example.com"),
        ("https://API.example.com:443/v1", "api.example.com"),
        ("https://api.example.com:8443/v1", "https://api.example.com:8443"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080"),
        ("http://[::1]/v1", "http://[::1]:80"),
    ],
)
def test_a_base_url_has_one_grant(url: str, origin: str) -> None:
    assert origin_of(url) == origin
    assert str(parse_grant(origin)) == origin


def model(url: str, told: list[Access], *texts: str, private: bool = True) -> ModelClient:
    grants = tuple(parse_grant(text, private=private) for text in texts)
    network = Network(grants=grants, access=told.append)
    return ModelClient(provider="acme", base_url=url, headers={"x-key": "canary-key"}, network=network)


async def ask(client: ModelClient) -> list[str]:
    body = {"model": "m", "messages": [], "stream": True}
    try:
        events = client.events("/chat/completions", body, timeout=20, is_end=lambda event: event.data == "[DONE]")
        return [event.data async for event in events]
    finally:
        await client.aclose()


async def test_N3_the_model_is_asked_at_its_granted_place_and_the_connection_is_told() -> None:
    told: list[Access] = []
    with ModelServer([Turn(text="hello")]) as server:
        assert await ask(model(server.openai_url, told, origin_of(server.openai_url)))
        port = int(server.openai_url.split(":")[2].partition("/")[0])
    assert told == [Access(allowed=True, domain="127.0.0.1", port=port)]


async def test_N2_a_base_url_that_was_not_decided_gets_neither_a_key_nor_a_byte() -> None:
    told: list[Access] = []
    with ModelServer([Turn(text="hello")]) as listed, ModelServer([Turn(text="stolen")]) as thief:
        with pytest.raises(ProviderError, match="acme was not asked: only http://127") as refused:
            await ask(model(thief.openai_url, told, origin_of(listed.openai_url)))
        assert not refused.value.retryable
        assert thief.connections == 0
        assert [(access.allowed, access.domain) for access in told] == [(False, "127.0.0.1")]
        assert await ask(model(listed.openai_url, told, origin_of(listed.openai_url)))
    assert told[-1].allowed


async def test_N2_a_redirect_of_the_models_server_is_not_followed() -> None:
    from starlette.applications import Starlette
    from starlette.responses import RedirectResponse
    from starlette.routing import Route

    told: list[Access] = []
    with ModelServer([Turn(text="stolen")]) as thief:

        async def away(_request: object) -> RedirectResponse:
            return RedirectResponse(f"{thief.openai_url}/chat/completions", status_code=302)

        app = Starlette(routes=[Route("/chat/completions", away, methods=["POST"])])
        with https(app, tls=False) as port, pytest.raises(ProviderError, match="302"):
            await ask(model(f"http://127.0.0.1:{port}", told, f"http://127.0.0.1:{port}"))
        assert thief.connections == 0
        assert [(access.allowed, access.port) for access in told] == [(True, port)]
        assert await ask(model(thief.openai_url, told, origin_of(thief.openai_url))), "it would have answered"


async def get(url: str, network: Network, **parts: object) -> int:
    way = reach(**parts)
    async with httpx2.AsyncClient(transport=GuardedTransport(network, reach=way), trust_env=False) as client:
        return (await client.get(url)).status_code


async def private(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1", "10.0.0.1"]


async def test_AN5_a_host_of_a_vendor_at_an_address_that_is_not_public_is_not_asked_and_a_configured_one_is() -> None:
    told: list[Access] = []
    with https(HttpServer().app()) as port:
        url = f"https://{HOST}:{port}"
        vendor = Network(grants=(parse_grant(url),), access=told.append)
        with pytest.raises(Blocked, match=r"10\.0\.0\.1 is not public: private"):
            await get(f"{url}/mcp", vendor, resolve=private)
        assert [access.allowed for access in told] == [False]
        assert await get(f"{url}/mcp", vendor, resolve=to_loopback) in (400, 405, 406)
        assert told[-1] == Access(allowed=True, domain=HOST, port=port)
    with ModelServer([Turn(text="hello")]) as server:  # loopback itself, because the configuration says so
        assert await ask(model(server.openai_url, told, origin_of(server.openai_url)))


async def test_an_address_that_is_granted_itself_may_be_what_a_granted_name_leads_to() -> None:
    async def metadata(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    told: list[Access] = []
    with https(HttpServer().app(), tls=False) as port:
        name = parse_grant(f"http://metadata.example:{port}")
        address = parse_grant(f"http://127.0.0.1:{port}", private=True)
        strict = {"resolve": metadata, "refusal": lambda _address: "loopback"}
        with pytest.raises(Blocked, match="not public"):
            await get(f"http://metadata.example:{port}/", Network(grants=(name,)), **strict)
        both = Network(grants=(name, address), access=told.append)
        assert await get(f"http://metadata.example:{port}/", both, **strict) == 404
    assert told == [Access(allowed=True, domain="metadata.example", port=port)]


async def test_AO7_a_connection_that_cannot_be_recorded_carries_nothing() -> None:
    def lost(_access: Access) -> None:
        raise OSError("no space left")

    server = HttpServer()
    with https(server.app()) as port:
        url = f"https://{HOST}:{port}"
        with pytest.raises(OSError, match="no space left"):
            await get(f"{url}/mcp", Network(grants=(parse_grant(url),), access=lost))
        assert server.headers == []
        assert await get(f"{url}/mcp", Network(grants=(parse_grant(url),))) in (400, 405, 406)
        assert len(server.headers) <= 1


async def test_a_gate_that_is_not_there_is_a_failed_connection_and_no_way_around(tmp_path: Path) -> None:
    network = Network(grants=(parse_grant("api.example.com"),), gate=str(tmp_path / "none.sock"))
    with pytest.raises(httpx2.ConnectError):
        await get("https://api.example.com/", network)


async def test_what_a_gate_says_is_the_reason(tmp_path: Path) -> None:
    with gate_here(SkillEntry(name="engine", domains=["api.example.com"])) as running:
        transport = through_gate(running.socket("engine"), tls=trusting(), limits=httpx2.Limits())
        async with httpx2.AsyncClient(transport=transport, trust_env=False) as client:
            with pytest.raises(httpx2.ConnectError, match=r"'evil\.example\.org' is not in allowedDomains"):
                await client.get("https://evil.example.org/")
        assert running.wait_for("deny", 1)[0]["host"] == "evil.example.org"


async def test_a_gate_that_hangs_up_or_talks_nonsense_is_a_failed_connection(tmp_path: Path) -> None:
    for says in (b"", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 500 no\r\n\r\n", b'HTTP/1.1 403 no\r\n\r\n["why"]'):
        path = tmp_path / f"{len(says)}.sock"

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, says: bytes = says) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(says)
            writer.close()

        server = await asyncio.start_unix_server(serve, path)
        async with server:
            network = Network(grants=(parse_grant("api.example.com"),), gate=str(path))
            with pytest.raises(httpx2.ConnectError, match="the gate refused it: it gave no reason"):
                await get("https://api.example.com/", network)
