"""A token in the key's place: by Azure's own library, when the settings ask for it, and only then."""

from __future__ import annotations

import sys
import types
import uuid
from pathlib import Path

import pytest
from perstack.errors import ConfigError, ProviderError
from perstack.specs import ProviderContext
from perstack.testing.answers import answer, question
from perstack.testing.model_server import ModelServer, Turn
from perstack_provider_openai.plugin import spec
from perstack_provider_openai.profiles import AZURE


def library(monkeypatch: pytest.MonkeyPatch, *, token: str | None) -> list[str]:
    """A stand-in for azure.identity; the scopes that it was asked for."""
    asked: list[str] = []

    class DefaultAzureCredential:
        def get_token(self, scope: str) -> types.SimpleNamespace:
            asked.append(scope)
            if token is None:
                raise RuntimeError("secret-words of the library")
            return types.SimpleNamespace(token=token)

    module = types.ModuleType("azure.identity")
    module.DefaultAzureCredential = DefaultAzureCredential
    monkeypatch.setitem(sys.modules, "azure", types.ModuleType("azure"))
    monkeypatch.setitem(sys.modules, "azure.identity", module)
    return asked


def context(server: ModelServer) -> ProviderContext:
    settings = {"baseUrl": f"{server.url}/openai", "auth": "identity"}
    return ProviderContext(settings=settings, env={"AZURE_API_KEY": "unused-key"}, cache_dir=Path("unused"))


async def test_a_token_is_sent_and_the_key_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    token = uuid.uuid4().hex
    asked = library(monkeypatch, token=token)
    with ModelServer([Turn(text="hello")]) as server:
        provider = spec(AZURE).factory(context(server))
        await answer(provider, question())
        await provider.aclose()
    (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {token}"
    assert "unused-key" not in str(request.headers)
    assert asked == ["https://cognitiveservices.azure.com/.default"]


async def test_a_refusal_is_an_error_without_the_librarys_words(monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch, token=None)
    with ModelServer() as server:
        provider = spec(AZURE).factory(context(server))
        with pytest.raises(ProviderError, match="gave no token") as caught:
            await answer(provider, question())
        await provider.aclose()
    assert "secret-words" not in f"{caught.value}{caught.value.hint}"
    assert server.requests == []


def test_without_the_library_the_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with ModelServer() as server, pytest.raises(ConfigError, match="azure-identity"):
        spec(AZURE).factory(context(server))


def test_the_key_is_needed_where_nothing_else_was_chosen() -> None:
    url = {"baseUrl": "https://acme.openai.azure.com/openai"}
    with pytest.raises(ConfigError, match="AZURE_API_KEY is not set"):
        spec(AZURE).factory(ProviderContext(settings=url, env={}, cache_dir=Path("unused")))
