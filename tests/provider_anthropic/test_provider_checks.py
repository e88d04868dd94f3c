"""The Anthropic provider keeps what every provider promises."""

from __future__ import annotations

from pathlib import Path

from perstack.protocols import Provider
from perstack.specs import ProviderContext
from perstack.testing.checks_provider import ProviderChecks
from perstack.testing.model_server import ModelServer
from perstack_provider_anthropic.plugin import perstack_register_providers


class TestAnthropic(ProviderChecks):
    def url(self, server: ModelServer) -> str:
        return server.anthropic_url

    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        (spec,) = perstack_register_providers()
        context = ProviderContext(settings={"baseUrl": url}, env={"ANTHROPIC_API_KEY": key}, cache_dir=Path("unused"))
        return spec.factory(context)
