"""What the provider asks for and where it goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from perstack.errors import ConfigError
from perstack.specs import ProviderContext
from perstack.testing.answers import answer, question
from perstack.testing.model_server import ModelServer, Turn
from perstack_provider_anthropic.models import DEFAULT_MODEL, MODELS
from perstack_provider_anthropic.plugin import perstack_register_providers
from perstack_provider_anthropic.provider import DEFAULT_URL


def context(env: dict[str, str], **settings: object) -> ProviderContext:
    return ProviderContext(settings=settings, env=env, cache_dir=Path("unused"))


def test_without_a_base_url_traffic_goes_to_the_vendors_host() -> None:
    (spec,) = perstack_register_providers()
    assert urlsplit(DEFAULT_URL).hostname in spec.api_hosts


def test_the_default_model_is_a_known_one() -> None:
    assert DEFAULT_MODEL in MODELS


async def test_W_22_variables_of_others_are_not_read() -> None:
    (spec,) = perstack_register_providers()
    with ModelServer([Turn(text="hello")]) as server, ModelServer() as other:
        env = {
            "ANTHROPIC_API_KEY": "own-key",
            "ANTHROPIC_BASE_URL": server.url,
            "OPENAI_API_KEY": "another-key",
            "OPENAI_BASE_URL": other.openai_url,
            "OPENAI_PROJECT": "another-project",
        }
        provider = spec.factory(context(env, headers={"x-team": "blue"}))
        await answer(provider, question())
        await provider.aclose()
    headers = server.requests[0].headers
    assert (headers["x-api-key"], headers["x-team"]) == ("own-key", "blue")
    assert not any("another" in value for value in headers.values())
    assert other.requests == []


def test_a_missing_key_is_named() -> None:
    (spec,) = perstack_register_providers()
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY is not set"):
        spec.factory(context({"OPENAI_API_KEY": "another"}))


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_a_base_url_may_have_the_version_or_not(path: str) -> None:
    (spec,) = perstack_register_providers()
    with ModelServer([Turn(text="hello")]) as server:
        provider = spec.factory(context({"ANTHROPIC_API_KEY": "key"}, baseUrl=server.url + path))
        await answer(provider, question())
        await provider.aclose()
    assert server.requests[0].path == "/v1/messages"


def test_registering_imports_nothing_heavy() -> None:
    code = (
        "import sys, perstack_provider_anthropic.plugin as p; p.perstack_register_providers();"
        "print(sorted({'httpx2', 'anyio', 'asyncio', 'msgspec', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
