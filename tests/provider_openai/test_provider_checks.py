"""Each format and each server keeps what every provider promises."""

from __future__ import annotations

from pathlib import Path

from perstack.protocols import Provider
from perstack.specs import ProviderContext
from perstack.testing.checks_provider import ProviderChecks
from perstack.testing.model_server import ModelServer
from perstack_provider_openai.plugin import spec
from perstack_provider_openai.profiles import AZURE, DEEPSEEK, OLLAMA, OPENAI, Profile


def made(profile: Profile, url: str, key: str, **settings: object) -> Provider:
    env = {profile.key: key} if profile.key else {}
    context = ProviderContext(settings={"baseUrl": url, **settings}, env=env, cache_dir=Path("unused"))
    return spec(profile).factory(context)


class TestChat(ProviderChecks):
    def url(self, server: ModelServer) -> str:
        return server.openai_url

    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        return made(OPENAI, url, key)


class TestResponses(ProviderChecks):
    def url(self, server: ModelServer) -> str:
        return server.openai_url

    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        return made(OPENAI, url, key, api="responses")


class TestAzure(ProviderChecks):
    def url(self, server: ModelServer) -> str:
        return f"{server.url}/openai"

    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        return made(AZURE, url, key)


class TestDeepSeek(ProviderChecks):
    takes_schemas = False

    def url(self, server: ModelServer) -> str:
        return server.openai_url

    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        return made(DEEPSEEK, url, key)


class TestOllama(ProviderChecks):
    def url(self, server: ModelServer) -> str:
        return server.url

    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        return made(OLLAMA, url, key, headers={"x-key": key})
