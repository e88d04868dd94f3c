"""Skills over https reach their endpoint at public addresses, and nothing else, whatever names and servers say."""

from __future__ import annotations

import gzip
import resource
from contextlib import ExitStack

import pytest
from perstack.errors import SkillError, ToolError
from perstack.outbound.transport import INTERNET
from perstack.tools.remote.reach import ANSWER_BYTES
from remote_server import HOST, HttpServer, Told, connected, https, loopback_is_public, reach, to_loopback
from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "169.254.169.254",
    "100.100.100.200",
    "0.0.0.0",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "::1",
    "fe80::1",
    "fd00:ec2::254",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::",
    "fec0::1",
    "ff02::1",
    "::",
    "not-an-address",
]


def resolving(*answers: list[str]):
    """A resolver that gives each of `answers` once, and the last one from then on."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


@pytest.mark.parametrize("address", PRIVATE)
async def test_AN15_W_21_a_name_with_an_address_that_is_not_public_is_refused_before_anything_is_sent(address) -> None:
    server, told = HttpServer(), Told()
    with server.served() as url:
        way = reach(resolve=resolving([address]), refusal=INTERNET.refusal)
        with pytest.raises(SkillError, match="is not public"):
            async with connected(url, way=way, told=told):
                pass
        assert server.received == []
        assert [(access.allowed, access.domain) for access in told.accesses] == [(False, HOST)]
        async with connected(url):  # the same server through a resolver that names an allowed address
            assert server.received


async def test_AN5_one_address_that_is_not_public_refuses_the_whole_name() -> None:
    server = HttpServer()
    with server.served() as url:
        way = reach(resolve=resolving(["127.0.0.1", "10.0.0.1"]))
        with pytest.raises(SkillError, match=r"10\.0\.0\.1 is not public: private"):
            async with connected(url, way=way):
                pass
    assert server.received == []


async def test_AN14_a_name_that_changes_its_address_after_the_check_is_not_followed() -> None:
    server, told = HttpServer(), Told()
    with server.served() as url:
        way = reach(resolve=resolving(["127.0.0.1"], ["10.0.0.1"]))
        async with connected(url, way=way, told=told) as session:
            for _ in range(3):
                assert (await session.call("tool", {}, timeout=10)).contents
    assert all(access.allowed for access in told.accesses)


async def test_AN14_a_server_that_moved_is_resolved_again_and_checked_again() -> None:
    server, told = HttpServer(), Told()
    way = reach(resolve=resolving(["127.0.0.1"], ["10.0.0.1"]))
    with ExitStack() as stack:
        async with connected(stack.enter_context(server.served()), way=way, told=told) as session:
            assert (await session.call("tool", {}, timeout=10)).contents
            stack.close()  # from here on nobody listens at the first address
            with pytest.raises(ToolError, match=r"10\.0\.0\.1 is not public"):
                await session.call("tool", {}, timeout=10)
    assert [access.allowed for access in told.accesses][-1] is False


async def test_several_addresses_are_tried_in_turn() -> None:
    server = HttpServer()
    with server.served() as url:
        way = reach(resolve=resolving(["127.0.0.2", "127.0.0.1"]))
        async with connected(url, way=way) as session:
            assert (await session.call("tool", {}, timeout=10)).contents


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_AN15_a_redirect_to_another_host_is_not_followed(kind, status) -> None:
    elsewhere, told = HttpServer(), Told()
    with https(elsewhere.app()) as other:

        async def away(_request) -> Response:
            return RedirectResponse(f"https://{HOST}:{other}/mcp", status_code=status)

        with https(Starlette(routes=[Route("/mcp", away, methods=["GET", "POST"])])) as port:
            headers = {"Authorization": "Bearer $T"}
            with pytest.raises(SkillError):
                async with connected(
                    f"https://{HOST}:{port}/mcp", kind=kind, told=told, headers=headers, env={"T": "canary-40d1"}
                ):
                    pass
        assert elsewhere.received == []
        assert {access.port for access in told.accesses} == {port}
        async with connected(f"https://{HOST}:{other}/mcp") as session:  # it would have answered
            assert session.tools


async def test_AN15_a_redirect_on_the_same_host_is_followed() -> None:
    server = HttpServer()
    app = server.app()

    async def here(_request) -> Response:
        return RedirectResponse("/mcp", status_code=307)

    app.router.routes.append(Route("/old", here, methods=["POST"]))
    with https(app) as port:
        async with connected(f"https://{HOST}:{port}/old") as session:
            assert session.tools


async def test_AN15_a_message_endpoint_on_another_host_is_refused() -> None:
    elsewhere = HttpServer()
    with https(elsewhere.app()) as other:

        async def events(_request) -> Response:
            async def stream():
                yield f"event: endpoint\ndata: https://{HOST}:{other}/mcp\n\n"

            return StreamingResponse(stream(), media_type="text/event-stream")

        with https(Starlette(routes=[Route("/sse", events)])) as port, pytest.raises(SkillError):
            async with connected(f"https://{HOST}:{port}/sse", kind="sse", handshake_seconds=1):
                pass
        assert elsewhere.received == []


async def test_AN15_Q15_a_server_without_tls_is_not_spoken_to() -> None:
    server, told = HttpServer(), Told()
    with https(server.app(), tls=False) as port:
        for url in (f"http://{HOST}:{port}/mcp", f"https://{HOST}:{port}/mcp"):
            with pytest.raises(SkillError):
                async with connected(url, told=told):
                    pass
        assert server.received == []
        assert "not https" in told.accesses[0].reason
        way = reach(schemes=frozenset({"http"}))
        async with connected(f"http://{HOST}:{port}/mcp", way=way) as session:  # only a test can open this way
            assert session.tools


async def test_AN15_the_name_is_verified_although_an_address_is_connected_to() -> None:
    server = HttpServer()
    with https(server.app()) as port:
        with pytest.raises(SkillError, match="certificate"):
            async with connected(f"https://other.example.test:{port}/mcp"):
                pass
        with pytest.raises(SkillError, match="certificate"):
            async with connected(f"https://{HOST}:{port}/mcp", way=reach(tls=INTERNET.tls)):
                pass
        assert server.received == []
        async with connected(f"https://{HOST}:{port}/mcp") as session:
            assert session.tools


async def test_AN15_proxies_of_the_environment_see_nothing(monkeypatch) -> None:
    proxy, server = HttpServer(), HttpServer()
    with https(proxy.app(), tls=False) as port, server.served() as url:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        async with connected(url) as session:
            assert session.tools
    assert proxy.headers == []
    assert server.headers


async def test_an_answer_that_is_compressed_is_refused() -> None:
    def compressed(message):
        return Response(gzip.compress(b"{}"), media_type="application/json", headers={"content-encoding": "gzip"})

    server = HttpServer(on={"tools/call": compressed})
    with server.served() as url:
        async with connected(url) as session:
            with pytest.raises(ToolError, match="compressed"):
                await session.call("tool", {}, timeout=10)
            server.on = {}
            assert (await session.call("tool", {}, timeout=10)).contents
    assert {seen["accept-encoding"] for seen in server.headers} == {"identity"}


@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream"])
async def test_AM6_an_answer_of_a_gigabyte_is_refused_and_memory_stays_flat(media_type) -> None:
    def endless(message):
        async def chunks():
            yield b'{"jsonrpc":"2.0","id":1,"result":{"x":"' if "json" in media_type else b"data: "
            for _ in range(1024):
                yield b"x" * 1024 * 1024

        return StreamingResponse(chunks(), media_type=media_type)

    server = HttpServer(on={"tools/call": endless})
    with server.served() as url:
        async with connected(url) as session:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with pytest.raises(ToolError):
                await session.call("tool", {}, timeout=60)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            server.on = {}
            assert (await session.call("tool", {}, timeout=10)).contents
    assert grown < 6 * ANSWER_BYTES, grown


async def test_the_internet_is_https_at_public_addresses_with_the_systems_resolver() -> None:
    assert INTERNET.schemes == {"https"}
    assert INTERNET.refusal("10.0.0.1") == "private"
    assert INTERNET.refusal("93.184.215.14") is None
    assert loopback_is_public("10.0.0.1") == "private"
    assert await to_loopback("x", 1) == ("127.0.0.1",)
    assert "127.0.0.1" in await INTERNET.resolve("localhost", 443)
