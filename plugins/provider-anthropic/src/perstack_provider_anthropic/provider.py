"""A connection to Anthropic's models with one set of credentials."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import urlsplit

from perstack.model_http import Event, ModelClient, base_url, header_settings, secret
from perstack.protocols import GenerateRequest, StreamPart
from perstack.specs import ProviderContext

from perstack_provider_anthropic.models import MODELS
from perstack_provider_anthropic.request import messages_body
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
        url = base_url(context, variable=url_variable, default=DEFAULT_URL)
        self._path = "/messages" if urlsplit(url).path.endswith("/v1") else "/v1/messages"
        self._client = ModelClient(
            provider=PROVIDER,
            base_url=url,
            headers={"anthropic-version": API_VERSION, **own, "x-api-key": api_key},
            key=key,
            secrets=(api_key, *own.values()),
            proxy_url=context.proxy_url,
        )

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[StreamPart, None]:
        """The answer's parts; see `perstack.protocols.Provider`."""
        answer = MessagesAnswer(PROVIDER)
        body = messages_body(request, MODELS)
        events = self._client.events(self._path, body, timeout=request.timeout, is_end=is_stop)
        async with aclosing(events):
            async for event in events:
                for part in answer.feed(event.data):
                    yield part
        yield answer.end()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def is_stop(event: Event) -> bool:
    """Whether the event is the message's own end."""
    return event.event == "message_stop"
