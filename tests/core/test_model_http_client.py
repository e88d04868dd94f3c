"""The client's own rules, seen from servers on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from collections.abc import Iterator

import httpx2
import pytest
from perstack.errors import ProviderError
from perstack.model_http import Event, ModelClient, Timeouts
from perstack.specs import Network, Proxy
from perstack.testing.model_server import Gate, ModelServer, Refuse, Stall, Turn

LONG = "a long text " * 20
BODY = {"model": "m", "messages": [], "stream": True}


def is_done(event: Event) -> bool:
    return event.data == "[DONE]"


async def ask(client: ModelClient, *, timeout: float = 20.0) -> list[str]:
    try:
        events = client.events("/chat/completions", dict(BODY), timeout=timeout, is_end=is_done)
        return [event.data async for event in events if not is_done(event)]
    finally:
        await client.aclose()


def client(base_url: str, **options: object) -> ModelClient:
    return ModelClient(provider="a-server", base_url=base_url, headers={"x-key": "key"}, **options)


@contextlib.contextmanager
def recorder(answer: bytes, *, hold: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """A port that keeps what one connection says first, answers, and hangs up; or holds until the client does."""
    heard: list[bytes] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                heard.append(connection.recv(65536))
                connection.sendall(answer)
                while hold and connection.recv(65536):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.close()
        thread.join(10)


async def test_a_model_that_pauses_too_long_is_given_up_on() -> None:
    stall = Stall(gate=Gate(), after=4)
    with ModelServer([Turn(text=LONG), Turn(text=LONG, fault=stall)]) as server:
        assert len(await ask(client(server.openai_url, timeouts=Timeouts(idle=0.2)))) > 4
        with pytest.raises(ProviderError, match=r"did not go on with its answer within 0\.2 s") as caught:
            await ask(client(server.openai_url, timeouts=Timeouts(idle=0.2)))
    assert caught.value.retryable


async def test_the_first_event_has_a_patience_of_its_own() -> None:
    stall = Stall(gate=Gate(), after=0)
    with (
        ModelServer([Turn(text=LONG, fault=stall)]) as server,
        pytest.raises(ProviderError, match="did not go on with its answer"),
    ):
        await ask(client(server.openai_url, timeouts=Timeouts(first=0.2, idle=10)))


async def test_a_redirect_takes_the_key_nowhere() -> None:
    canary = uuid.uuid4().hex
    with ModelServer([Turn(text="whole")]) as elsewhere:
        away = Refuse(status=307, headers={"location": f"{elsewhere.openai_url}/chat/completions"})
        with ModelServer([Turn(fault=away)]) as server:
            own = ModelClient(provider="a-server", base_url=server.openai_url, headers={"x-key": canary})
            with pytest.raises(ProviderError, match="redirect") as caught:
                await ask(own)
        assert server.requests[0].headers["x-key"] == canary
        assert elsewhere.requests == []
        assert not caught.value.retryable
        assert await ask(client(elsewhere.openai_url)), "the other server does answer whoever asks it"


async def test_a_proxy_sees_the_host_and_neither_key_nor_path() -> None:
    canary = uuid.uuid4().hex
    with recorder(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n") as (port, heard):
        own = ModelClient(
            provider="a-server",
            base_url="https://models.example.invalid/secret-path",
            headers={"x-key": canary},
            network=Network(proxy=Proxy(url=f"http://127.0.0.1:{port}")),
        )
        with pytest.raises(ProviderError, match=r"connection to a-server at .* failed"):
            await ask(own)
    assert heard[0].startswith(b"CONNECT models.example.invalid:443 ")
    assert canary.encode() not in heard[0]
    assert b"secret-path" not in heard[0]


async def test_this_machine_is_reached_without_the_proxy() -> None:
    with ModelServer([Turn(text="whole")]) as server:
        assert await ask(client(server.openai_url, network=Network(proxy=Proxy(url="http://127.0.0.1:1"))))


async def test_proxies_of_the_environment_do_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with ModelServer([Turn(text="whole")]) as server:
        assert await ask(client(server.openai_url))


async def test_certificates_are_loaded_for_tls_only(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    create = httpx2.create_ssl_context
    monkeypatch.setattr(httpx2, "create_ssl_context", lambda: (loaded.append("loaded"), create())[1])
    await client("http://127.0.0.1:1").aclose()
    assert loaded == []
    await client("https://models.example.invalid").aclose()
    assert loaded == ["loaded"]


async def test_a_compressed_answer_is_refused() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n"
    head += b"content-length: 2\r\n\r\n\x1f\x8b"
    with recorder(head) as (port, heard), pytest.raises(ProviderError, match="compressed"):
        await ask(client(f"http://127.0.0.1:{port}"))
    assert b"accept-encoding: identity" in heard[0].lower()


@pytest.mark.parametrize("answer", [b"", b"\0\1\2\3", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n"])
async def test_what_is_no_http_is_an_error(answer: bytes) -> None:
    with (
        recorder(answer) as (port, _),
        pytest.raises(ProviderError, match=r"connection to a-server at .* failed") as caught,
    ):
        await ask(client(f"http://127.0.0.1:{port}"))
    assert caught.value.retryable


async def test_events_may_be_framed_in_any_way_that_the_standard_allows() -> None:
    stream = b": hello\r\nretry: 5\r\nid: 1\r\ndata: one\r\ndata:two\r\n\r\n\r\n: ping\n\n"
    stream += b"event: x\ndata: three\n\ndata: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\nconnection: close\r\n\r\n"
    with recorder(head + stream) as (port, _):
        assert [data for data in await ask(client(f"http://127.0.0.1:{port}")) if data] == ["one\ntwo", "three"]


@pytest.mark.parametrize("hold", [True, False], ids=["held", "dropped"])
async def test_what_the_server_does_after_the_end_is_of_no_concern(*, hold: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n"
    with recorder(head + b"data: one\n\ndata: [DONE]\n\n", hold=hold) as (port, _):
        assert await ask(client(f"http://127.0.0.1:{port}"), timeout=5) == ["one"]
