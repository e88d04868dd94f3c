"""Amazon Bedrock keeps what every provider promises, with signed requests and with an API key."""

from __future__ import annotations

import binascii
import struct
from pathlib import Path

from perstack.protocols import Provider
from perstack.specs import ProviderContext
from perstack.testing.checks_provider import ProviderChecks
from perstack.testing.model_server import ModelServer
from perstack_provider_bedrock.plugin import perstack_register_providers

PRELUDE = struct.pack("!II", 9 * 1024 * 1024, 0)


def made(url: str, **env: str) -> Provider:
    (spec,) = perstack_register_providers()
    context = ProviderContext(settings={"baseUrl": url, "region": "eu-central-1"}, env=env, cache_dir=Path("unused"))
    return spec.factory(context)


class BedrockChecks(ProviderChecks):
    content_type = "application/vnd.amazon.eventstream"
    endless = PRELUDE + struct.pack("!I", binascii.crc32(PRELUDE)) + b"x" * (9 * 1024 * 1024)

    def url(self, server: ModelServer) -> str:
        return server.url


class TestSigned(BedrockChecks):
    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        # The session's token is the one secret that is sent as it is.
        return made(url, AWS_ACCESS_KEY_ID="AKIA", AWS_SECRET_ACCESS_KEY="secret-of-a-test", AWS_SESSION_TOKEN=key)


class TestApiKey(BedrockChecks):
    def make(self, url: str, key: str = "key-of-a-test") -> Provider:
        return made(url, AWS_BEARER_TOKEN_BEDROCK=key)
