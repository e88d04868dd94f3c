"""The OpenAI provider keeps what every provider promises."""

from __future__ import annotations

from pathlib import Path

from perstack.protocols import Provider
from perstack.specs import ProviderContext
from perstack.testing.checks_provider import ProviderChecks
from perstack.testing.model_server import ModelServer
from perstack_provider_openai.plugin import spec
from perstack_provider_openai.profiles import OPENAI


class TestOpenAI(ProviderChecks):
    def url(self, server: ModelServer) -> str:
        return server.openai_url

    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        context = ProviderContext(settings={"baseUrl": url}, env={"OPENAI_API_KEY": key}, cache_dir=Path("unused"))
        return spec(OPENAI).factory(context)
