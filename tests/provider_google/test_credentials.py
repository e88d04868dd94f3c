"""Vertex AI's address follows from project and location, and its token from Google's own library."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Self

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from perstack.errors import ConfigError, ProviderError
from perstack.specs import ProviderContext
from perstack.testing.answers import answer, question
from perstack.testing.model_server import ModelServer, Turn
from perstack_provider_google.credentials import TOKEN_BYTES
from perstack_provider_google.plugin import spec
from perstack_provider_google.profiles import VERTEX
from perstack_provider_google.provider import server_hosts, server_url


def context(settings: dict[str, object] | None = None, **env: str) -> ProviderContext:
    return ProviderContext(settings=settings or {}, env=env, cache_dir=Path("unused"))


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
    ],
)
def test_the_location_decides_the_host(location: str, host: str) -> None:
    named = context(GOOGLE_VERTEX_PROJECT="acme", GOOGLE_VERTEX_LOCATION=location)
    assert server_url(VERTEX, named) == f"https://{host}/v1/projects/acme/locations/{location}/publishers/google"
    assert server_hosts(VERTEX, named)[0] == host


@pytest.mark.parametrize("location", ["", "evil.example/x", "a@b", "a#b", "A b"])
def test_a_location_that_is_none_never_becomes_an_address(location: str) -> None:
    with pytest.raises(ConfigError, match=r"location|GOOGLE_VERTEX_LOCATION"):
        server_url(VERTEX, context(GOOGLE_VERTEX_PROJECT="acme", GOOGLE_VERTEX_LOCATION=location))


class TokenServer:
    """A server of tokens; `status` is how it answers, and `more` how many characters more than it should."""

    def __init__(self, status: int = 200, more: int = 0) -> None:
        self.tokens: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                outer.tokens.append(uuid.uuid4().hex)
                body = {"access_token": outer.tokens[-1], "expires_in": 3600, "token_type": "Bearer"}
                if status != 200:
                    body = {"error": "invalid_grant", "error_description": "secret-words"}
                data = json.dumps({**body, "more": "x" * more}).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_args: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


def account(folder: Path, token_uri: str) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    path = folder / "account.json"
    email = "a@acme.iam.gserviceaccount.com"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "acme",
                "private_key_id": "1",
                "private_key": pem,
                "client_email": email,
                "client_id": "1",
                "token_uri": token_uri,
            }
        )
    )
    return str(path)


async def test_a_service_accounts_token_is_fetched_once_and_sent(tmp_path: Path) -> None:
    with TokenServer() as tokens, ModelServer([Turn(text="hello", times=None)]) as server:
        settings = {"baseUrl": f"{server.url}/v1/projects/acme/locations/global/publishers/google"}
        named = context(settings, GOOGLE_APPLICATION_CREDENTIALS=account(tmp_path, tokens.url))
        provider = spec(VERTEX).factory(named)
        for _ in range(2):
            await answer(provider, question(model="gemini-2.5-flash"))
        await provider.aclose()
    assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {tokens.tokens[0]}"] * 2
    assert len(tokens.tokens) == 1
    assert server.requests[0].path.endswith("/publishers/google/models/gemini-2.5-flash:streamGenerateContent")


async def test_a_refused_account_is_an_error_without_the_servers_words(tmp_path: Path) -> None:
    with TokenServer(status=400) as tokens, ModelServer() as server:
        named = context({"baseUrl": server.url}, GOOGLE_APPLICATION_CREDENTIALS=account(tmp_path, tokens.url))
        provider = spec(VERTEX).factory(named)
        with pytest.raises(ProviderError, match="gave no token") as caught:
            await answer(provider, question())
        await provider.aclose()
    assert not caught.value.retryable
    assert "secret-words" not in f"{caught.value}{caught.value.hint}"
    assert server.requests == []


async def test_an_answer_without_end_in_place_of_a_token_is_an_error(tmp_path: Path) -> None:
    for more, fits in ((1000, True), (TOKEN_BYTES, False)):
        with TokenServer(more=more) as tokens, ModelServer([Turn(text="hello")]) as server:
            settings = {"baseUrl": f"{server.url}/v1/projects/acme/locations/global/publishers/google"}
            named = context(settings, GOOGLE_APPLICATION_CREDENTIALS=account(tmp_path, tokens.url))
            provider = spec(VERTEX).factory(named)
            if fits:
                assert (await answer(provider, question(model="gemini-2.5-flash"))).text == "hello", "the control"
            else:
                with pytest.raises(ProviderError, match="cannot be reached"):
                    await answer(provider, question(model="gemini-2.5-flash"))
                assert server.requests == []
            await provider.aclose()


async def test_a_file_that_holds_no_credentials_is_named(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("{}")
    named = context({"baseUrl": "http://127.0.0.1:1"}, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"))
    provider = spec(VERTEX).factory(named)
    with pytest.raises(ConfigError, match=r"none\.json"):
        await answer(provider, question())
    await provider.aclose()


def test_registering_imports_nothing_heavy() -> None:
    code = (
        "import sys, perstack_provider_google.plugin as p; p.perstack_register_providers();"
        "print(sorted({'httpx2', 'anyio', 'asyncio', 'msgspec', 'pydantic', 'google.auth'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
