"""A connection to one server that speaks chat completions, with one set of credentials."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import urlsplit

from perstack.model_http import Event, ModelClient, base_url, header_settings, secret, text_setting
from perstack.protocols import GenerateRequest, StreamPart
from perstack.specs import ProviderContext

from perstack_provider_openai.chat_request import chat_body
from perstack_provider_openai.chat_stream import ChatAnswer
from perstack_provider_openai.profiles import Profile


class ChatProvider:
    """The chat completions of one profile's server."""

    def __init__(self, profile: Profile, context: ProviderContext) -> None:
        headers = header_settings(context)
        for setting, (variable, header) in profile.header_settings.items():
            value = text_setting(context, setting) or context.env.get(variable, "")
            if value:
                headers[header] = value
        secrets = list(headers.values())
        if profile.key:
            key = secret(context, profile.key)
            headers["authorization"] = f"Bearer {key}"
            secrets.append(key)
        self._profile = profile
        self._client = ModelClient(
            provider=profile.name,
            base_url=server_url(profile, context),
            headers=headers,
            key=profile.key,
            secrets=secrets,
            proxy_url=context.proxy_url,
        )

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[StreamPart, None]:
        """The answer's parts; see `perstack.protocols.Provider`."""
        answer = ChatAnswer(self._profile.name)
        body = chat_body(request, self._profile)
        events = self._client.events("/chat/completions", body, timeout=request.timeout, is_end=is_done)
        async with aclosing(events):
            async for event in events:
                for part in answer.feed(event.data):
                    yield part
        for part in answer.end():
            yield part

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def server_url(profile: Profile, context: ProviderContext) -> str:
    """The base URL, with the API's path where only the server was named."""
    url = base_url(context, variable=profile.url_variable, default=profile.url)
    path = urlsplit(url).path
    return url.removesuffix(path) + profile.api_path if profile.api_path and path in ("", "/api") else url


def is_done(event: Event) -> bool:
    """Whether the event is the stream's own end."""
    return event.data == "[DONE]"
