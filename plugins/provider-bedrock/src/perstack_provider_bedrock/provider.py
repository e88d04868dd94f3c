"""A connection to Amazon Bedrock in one region with one set of credentials."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from urllib.parse import quote

from perstack.errors import ConfigError, Problem
from perstack.model_http import Authorise, Encodings, ModelClient, base_url, header_settings, secret, text_setting
from perstack.outbound.grants import origin_of
from perstack.protocols import GenerateRequest, StreamPart
from perstack.specs import ProviderContext

from perstack_provider_bedrock.framing import FRAMING
from perstack_provider_bedrock.request import converse_body, marked_turns, message_blocks
from perstack_provider_bedrock.signing import of_profile, signer, static
from perstack_provider_bedrock.stream import ConverseAnswer

PROVIDER = "amazon-bedrock"
REGION = re.compile(r"[a-z]{2,8}(-[a-z]+)+-\d+")
DOMAINS = (("cn-", "amazonaws.com.cn"), ("eusc-", "amazonaws.eu"), ("", "amazonaws.com"))
"""Domains by the beginning of the region: China, the European sovereign cloud, and everywhere else."""


class BedrockProvider:
    """Converse at one region's server."""

    def __init__(self, context: ProviderContext) -> None:
        headers = header_settings(context)
        secrets = list(headers.values())
        token = context.env.get("AWS_BEARER_TOKEN_BEDROCK")
        authorise: Authorise | None = None
        if token:
            headers["authorization"] = f"Bearer {secret(context, 'AWS_BEARER_TOKEN_BEDROCK')}"
            secrets.append(token)
        else:
            authorise, own = _signer(context)
            secrets += own
        self._encodings = Encodings(message_blocks)
        self._client = ModelClient(
            provider=PROVIDER,
            base_url=server_url(context),
            headers=headers,
            key="the AWS credentials",
            secrets=secrets,
            network=context.network,
            authorise=authorise,
            framing=FRAMING,
        )

    def generate(self, request: GenerateRequest) -> AsyncGenerator[StreamPart, None]:
        """The answer's parts; see `perstack.protocols.Provider`."""
        messages = marked_turns(request, lambda message: self._encodings.one(message, request.info))
        body = {**converse_body(request), "messages": messages}
        path = f"/model/{quote(request.model, safe='')}/converse-stream"
        return self._client.answer(path, body, timeout=request.timeout, answer=ConverseAnswer(PROVIDER))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def _signer(context: ProviderContext) -> tuple[Authorise, tuple[str, ...]]:
    region = region_of(context)
    profile = text_setting(context, "profile") or context.env.get("AWS_PROFILE", "")
    if profile and not context.env.get("AWS_ACCESS_KEY_ID"):
        return signer(of_profile(profile), region), ()
    access_key, secret_key = secret(context, "AWS_ACCESS_KEY_ID"), secret(context, "AWS_SECRET_ACCESS_KEY")
    token = context.env.get("AWS_SESSION_TOKEN") or None
    return signer(static(access_key, secret_key, token), region), tuple(filter(None, (secret_key, token)))


def region_of(context: ProviderContext) -> str:
    """The region of the setting ``region`` or of ``AWS_REGION``.

    Raises:
        ConfigError: There is none, or it is no region's name.
    """
    region = text_setting(context, "region") or context.env.get("AWS_REGION", "")
    if not REGION.fullmatch(region):
        what = f"{region!r} is no region's name" if region else "AWS_REGION is not set"
        raise ConfigError([Problem(message=f"{what}.", hint='Set AWS_REGION, or write region = "us-east-1".')])
    return region


def server_url(context: ProviderContext) -> str:
    """The base URL: that of the region, or the setting ``baseUrl``."""
    if text_setting(context, "baseUrl"):
        return base_url(context, variable="", default="")
    region = region_of(context)
    domain = next(domain for beginning, domain in DOMAINS if region.startswith(beginning))
    return f"https://bedrock-runtime.{region}.{domain}"


def server_host(context: ProviderContext) -> str:
    """The origin of the base URL."""
    return origin_of(server_url(context))
