"""Each server has its own address, key and settings; none of them is ever another's."""

from __future__ import annotations

import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from perstack.errors import ConfigError
from perstack.specs import ProviderContext
from perstack.testing.answers import answer, question
from perstack.testing.model_server import ModelServer, Turn
from perstack_provider_openai.plugin import perstack_register_providers, spec
from perstack_provider_openai.profiles import DEEPSEEK, OLLAMA, OPENAI, PROFILES, Profile
from perstack_provider_openai.provider import server_url


def context(env: dict[str, str], **settings: object) -> ProviderContext:
    return ProviderContext(settings=settings, env=env, cache_dir=Path("unused"))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_without_a_base_url_traffic_goes_to_the_vendors_host(profile: Profile) -> None:
    host = urlsplit(server_url(profile, context({"AZURE_RESOURCE_NAME": "acme"}))).hostname
    patterns = [urlsplit(entry).hostname or entry for entry in spec(profile).api_hosts]
    assert any(fnmatchcase(host, pattern) for pattern in patterns)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_W_22_the_address_of_one_server_is_no_other_servers(profile: Profile) -> None:
    env = {other.url_variable: f"https://{other.name}.example.com/v1" for other in PROFILES}
    env["AZURE_RESOURCE_NAME"] = "acme"
    own = f"https://{profile.name}.example.com/v1"
    assert server_url(profile, context(env)) == own
    del env[profile.url_variable]
    assert server_url(profile, context(env)) == profile.url.format(resource="acme")


async def test_W_22_two_servers_each_get_their_own_key_and_headers() -> None:
    keys = {"OPENAI_API_KEY": "key-of-openai", "DEEPSEEK_API_KEY": "key-of-deepseek", "OPENAI_PROJECT": "own-project"}
    with ModelServer([Turn(text="one")]) as first, ModelServer([Turn(text="two")]) as second:
        settings = [(OPENAI, first, {"headers": {"x-team": "blue"}}), (DEEPSEEK, second, {})]
        for profile, server, own in settings:
            provider = spec(profile).factory(context(keys, baseUrl=server.openai_url, **own))
            await answer(provider, question())
            await provider.aclose()
    openai, deepseek = first.requests[0].headers, second.requests[0].headers
    assert (openai["authorization"], deepseek["authorization"]) == ("Bearer key-of-openai", "Bearer key-of-deepseek")
    assert (openai["x-team"], openai["openai-project"]) == ("blue", "own-project")
    assert "x-team" not in deepseek
    assert "openai-project" not in deepseek


def test_W_22_each_providers_variables_and_secrets_are_its_own() -> None:
    specs = perstack_register_providers()
    assert [one.name for one in specs] == ["openai", "azure-openai", "deepseek", "ollama"]
    names = [name for one in specs for name in (*one.required_env, *one.optional_env)]
    assert len(names) == len(set(names))
    assert [one.secret_env for one in specs] == [("OPENAI_API_KEY",), ("AZURE_API_KEY",), ("DEEPSEEK_API_KEY",), ()]


@pytest.mark.parametrize("profile", [OPENAI, DEEPSEEK], ids=lambda profile: profile.name)
def test_a_missing_key_is_named(profile: Profile) -> None:
    with pytest.raises(ConfigError, match=f"{profile.key} is not set"):
        spec(profile).factory(context({"ANTHROPIC_API_KEY": "another"}))


async def test_ollama_needs_no_key_and_sends_none() -> None:
    with ModelServer([Turn(text="hello")]) as server:
        provider = spec(OLLAMA).factory(context({"OLLAMA_BASE_URL": server.url}))
        assert (await answer(provider, question(model="gpt-oss:20b"))).text == "hello"
        await provider.aclose()
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("written", ["", "/", "/api", "/api/", "/v1", "/v1/"])
def test_an_ollama_server_may_be_named_with_or_without_its_path(written: str) -> None:
    named = context({"OLLAMA_BASE_URL": f"http://localhost:11434{written}"})
    assert server_url(OLLAMA, named) == "http://localhost:11434/v1"


def test_registering_imports_nothing_heavy() -> None:
    code = (
        "import sys, perstack_provider_openai.plugin as p; p.perstack_register_providers();"
        "print(sorted({'httpx2', 'anyio', 'asyncio', 'msgspec', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
