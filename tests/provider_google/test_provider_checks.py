"""The Gemini API and Vertex AI keep what every provider promises."""

from __future__ import annotations

from pathlib import Path

from perstack.protocols import Provider
from perstack.specs import ProviderContext
from perstack.testing.checks_provider import ProviderChecks
from perstack.testing.model_server import ModelServer
from perstack_provider_google.plugin import spec
from perstack_provider_google.profiles import GEMINI, VERTEX


class TestGemini(ProviderChecks):
    writes_arguments = False

    def url(self, server: ModelServer) -> str:
        return f"{server.url}/v1beta"

    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        env = {"GOOGLE_GENERATIVE_AI_API_KEY": key}
        return spec(GEMINI).factory(ProviderContext(settings={"baseUrl": url}, env=env, cache_dir=Path("unused")))


class TestVertex(ProviderChecks):
    writes_arguments = False

    def url(self, server: ModelServer) -> str:
        return f"{server.url}/v1/projects/p/locations/global/publishers/google"

    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        settings = {"baseUrl": url, "headers": {"Authorization": f"Bearer {key}"}}
        return spec(VERTEX).factory(ProviderContext(settings=settings, env={}, cache_dir=Path("unused")))
