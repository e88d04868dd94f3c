"""A connection to one server that speaks OpenAI's formats, with one set of credentials."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from urllib.parse import quote, urlencode, urlsplit

from perstack.errors import ConfigError, Problem
from perstack.model_http import Encodings, ModelClient, base_url, header_settings, secret, text_setting
from perstack.outbound.grants import origin_of
from perstack.protocols import GenerateRequest, StreamPart
from perstack.specs import ProviderContext

from perstack_provider_openai.chat_request import chat_body, chat_messages
from perstack_provider_openai.chat_stream import ChatAnswer
from perstack_provider_openai.profiles import LOGIN, Api, Profile
from perstack_provider_openai.responses_request import responses_body, responses_items
from perstack_provider_openai.responses_stream import ResponsesAnswer


class OpenAIProvider:
    """One profile's server, in the format that it speaks best."""

    def __init__(self, profile: Profile, context: ProviderContext) -> None:
        headers = header_settings(context)
        for setting, (variable, header) in profile.header_settings.items():
            value = text_setting(context, setting) or context.env.get(variable, "")
            if value:
                headers[header] = value
        secrets = list(headers.values())
        authorise = None
        if profile.token_scope and text_setting(context, "auth") == "identity":
            from perstack_provider_openai.identity import bearer_of

            authorise = bearer_of(profile.token_scope)
        elif profile.key:
            key = secret(context, profile.key)
            headers[profile.key_header] = profile.key_prefix + key
            secrets.append(key)
        self._profile = profile
        self._api = api_of(profile, context)
        self._route = Route(profile, context)
        form = partial(chat_messages, profile=profile) if self._api == "chat" else responses_items
        self._encodings = Encodings(form)
        self._client = ModelClient(
            provider=profile.name,
            base_url=server_url(profile, context),
            headers=headers,
            key=profile.key,
            secrets=secrets,
            network=context.network,
            authorise=authorise,
        )

    def generate(self, request: GenerateRequest) -> AsyncGenerator[StreamPart, None]:
        """The answer's parts; see `perstack.protocols.Provider`."""
        messages = self._encodings.all(request.messages, request.info)
        name = self._profile.name
        if self._api == "chat":
            body = {**chat_body(request, self._profile), "messages": messages}
            path = self._route.to("/chat/completions", request.model)
            return self._client.answer(path, body, timeout=request.timeout, answer=ChatAnswer(name))
        body = {**responses_body(request, self._profile), "input": messages}
        path = self._route.to("/responses", request.model)
        return self._client.answer(path, body, timeout=request.timeout, answer=ResponsesAnswer(name))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


class Route:
    """The way from the base URL to an operation: by version, or by the name of a deployment."""

    def __init__(self, profile: Profile, context: ProviderContext) -> None:
        self._profile = profile
        version = text_setting(context, "apiVersion") or context.env.get(profile.version_variable, "")
        by_deployment = context.settings.get("useDeploymentBasedUrls") is True
        if by_deployment and not version:
            message = f"{profile.version_variable} is not set, and URLs by deployment need it."
            raise ConfigError(
                [Problem(message=message, hint='Set it, or the setting apiVersion = "2025-04-01-preview".')]
            )
        self._by_deployment = by_deployment
        self._query = f"?{urlencode({'api-version': version})}" if version else ""

    def to(self, operation: str, model: str) -> str:
        """The path of `operation`, with its query."""
        place = f"/deployments/{quote(model, safe='')}" if self._by_deployment else self._profile.version_path
        return f"{place}{operation}{self._query}"


def api_of(profile: Profile, context: ProviderContext) -> Api:
    """The format to speak: the setting ``api``, else what the vendor's own server and what other servers speak.

    Raises:
        ConfigError: The setting names none.
    """
    setting = text_setting(context, "api") if profile.api != "chat" else ""
    if setting in {"chat", "responses"}:
        return "chat" if setting == "chat" else "responses"
    if setting:
        raise ConfigError([Problem(message=f"api is {setting!r}.", hint='Write api = "chat" or api = "responses".')])
    if context.settings.get("useDeploymentBasedUrls") is True:
        return "chat"  # the only one that has such URLs
    elsewhere = bool(text_setting(context, "baseUrl") or context.env.get(profile.url_variable))
    return profile.api_elsewhere if elsewhere else profile.api


def server_url(profile: Profile, context: ProviderContext) -> str:
    """The base URL, with the API's path where only the server was named.

    Raises:
        ConfigError: Neither it nor what it is made of is configured.
    """
    default = profile.url
    if profile.resource_variable:
        resource = text_setting(context, "resourceName") or context.env.get(profile.resource_variable, "")
        default = default.format(resource=resource) if resource else ""
        if not default and not text_setting(context, "baseUrl") and not context.env.get(profile.url_variable):
            message = f"{profile.resource_variable} is not set."
            raise ConfigError([Problem(message=message, hint=f"Set it, or {profile.url_variable}.")])
        if not resource.replace("-", "a").isalnum() and default:
            raise ConfigError([Problem(message=f"The resource name {resource!r} is no host's name.", hint="")])
    url = base_url(context, variable=profile.url_variable, default=default)
    path = urlsplit(url).path
    return url.removesuffix(path) + profile.api_path if profile.api_path and path in ("", "/api") else url


def server_hosts(profile: Profile, context: ProviderContext) -> tuple[str, ...]:
    """The origin of the base URL, and the host of tokens where they take a key's place."""
    identity = profile.token_scope and text_setting(context, "auth") == "identity"
    return (origin_of(server_url(profile, context)), *((LOGIN,) if identity else ()))
