"""A connection to Anthropic's models with one set of credentials."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

from perstack.model_http import Encodings, ModelClient, base_url, header_settings, secret, turns
from perstack.protocols import GenerateRequest, StreamPart
from perstack.specs import ProviderContext

from perstack_provider_anthropic.models import MODELS
from perstack_provider_anthropic.request import message_blocks, messages_body
from perstack_provider_anthropic.stream import MessagesAnswer

PROVIDER = "anthropic"
DEFAULT_URL = "https://api.anthropic.com"
API_VERSION = "2026-10-21"
"""The format's version, the same that the vendor's SDK asks for."""


class MessagesProvider:
    """Anthropic Messages at one base URL."""

    def __init__(self, context: ProviderContext, *, key: str, url_variable: str) -> None:
        own = header_settings(context)
        api_key = secret(context, key)
        url = server_url(context, url_variable=url_variable)
        self._path = "/messages" if urlsplit(url).path.endswith("/v1") else "/v1/messages"
        self._encodings = Encodings(message_blocks)
        self._client = ModelClient(
            provider=PROVIDER,
            base_url=url,
            headers={"anthropic-version": API_VERSION, **own, "x-api-key": api_key},
            key=key,
            secrets=(api_key, *own.values()),
            network=context.network,
        )

    def generate(self, request: GenerateRequest) -> AsyncGenerator[StreamPart, None]:
        """The answer's parts; see `perstack.protocols.Provider`."""
        messages = turns(request.messages, lambda message: self._encodings.one(message, request.info))
        body = {**messages_body(request, MODELS), "messages": messages}
        return self._client.answer(self._path, body, timeout=request.timeout, answer=MessagesAnswer(PROVIDER))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def server_url(context: ProviderContext, *, url_variable: str) -> str:
    """The base URL, with or without the format's version at its end."""
    return base_url(context, variable=url_variable, default=DEFAULT_URL)
