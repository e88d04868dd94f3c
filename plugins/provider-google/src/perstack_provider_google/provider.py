"""A connection to Gemini with one set of credentials."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from functools import partial
from urllib.parse import quote

from perstack.errors import ConfigError, Problem
from perstack.model_http import Encodings, ModelClient, base_url, header_settings, secret, text_setting
from perstack.outbound.grants import origin_of
from perstack.protocols import GenerateRequest, StreamPart
from perstack.specs import ProviderContext

from perstack_provider_google.profiles import MODELS, TOKEN_HOSTS, Profile
from perstack_provider_google.request import generate_body, message_contents
from perstack_provider_google.stream import GenerateAnswer

PLACE = re.compile(r"[a-z0-9][a-z0-9:.-]{0,127}")
"""Projects and locations: they stand in the address."""
MULTI_REGIONS = frozenset({"us", "eu"})


class GoogleProvider:
    """One profile's server."""

    def __init__(self, profile: Profile, context: ProviderContext) -> None:
        headers = header_settings(context)
        secrets = list(headers.values())
        authorise = None
        if profile.key:
            headers["x-goog-api-key"] = secret(context, profile.key)
            secrets.append(headers["x-goog-api-key"])
        elif "authorization" not in headers:
            from perstack_provider_google.credentials import bearer

            authorise = bearer(context.env.get(profile.credentials_variable), context.network)
        self._profile = profile
        self._encodings = Encodings(partial(message_contents, ids=profile.call_ids))
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
        head = generate_body(request, MODELS, shows_own_tools=self._profile.shows_own_tools)
        body = {**head, "contents": self._encodings.all(request.messages, request.info)}
        path = f"/models/{quote(request.model, safe='')}:streamGenerateContent?alt=sse"
        return self._client.answer(path, body, timeout=request.timeout, answer=GenerateAnswer(self._profile.name))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def server_url(profile: Profile, context: ProviderContext) -> str:
    """The base URL; of Vertex AI, that of the project in its location.

    Raises:
        ConfigError: The project or the location is missing, or is no name of one.
    """
    configured = text_setting(context, "baseUrl") or context.env.get(profile.url_variable)
    if configured or not profile.project_variables:
        return base_url(context, variable=profile.url_variable, default=profile.url)
    for_project, for_location = profile.project_variables
    project = _place(context, "project", for_project)
    location = _place(context, "location", for_location)
    default = profile.url.format(host=host_of(location), project=project, location=location)
    return base_url(context, variable=profile.url_variable, default=default)


def server_hosts(profile: Profile, context: ProviderContext) -> tuple[str, ...]:
    """The origin of the base URL, and the places that tokens come from."""
    tokens = TOKEN_HOSTS if profile.project_variables else ()
    return (origin_of(server_url(profile, context)), *tokens)


def host_of(location: str) -> str:
    """The host that serves a location of Vertex AI: the whole world, a continent, or a region."""
    if location == "global":
        return "aiplatform.googleapis.com"
    if location in MULTI_REGIONS:
        return f"aiplatform.{location}.rep.googleapis.com"
    return f"{location}-aiplatform.googleapis.com"


def _place(context: ProviderContext, setting: str, variable: str) -> str:
    value = text_setting(context, setting) or context.env.get(variable, "")
    if not value:
        problem = Problem(
            message=f"{variable} is not set.", hint=f'Set it, or write {setting} = "..." in the settings.'
        )
    elif not PLACE.fullmatch(value):
        problem = Problem(message=f"The {setting} {value!r} is no name of one.", hint=f"Check {variable}.")
    else:
        return value
    raise ConfigError([problem])
