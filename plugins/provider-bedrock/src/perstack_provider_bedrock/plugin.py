"""What this distribution offers to perstack: models in Amazon Bedrock."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.hookspecs import hookimpl
from perstack.model_table import ModelTable
from perstack.specs import ModelInfo, ProviderContext, ProviderSpec

if TYPE_CHECKING:
    from perstack.protocols import Provider

REGION = re.compile(r"^(us|us-gov|eu|apac|jp|au|ca|global)\.")
VERSION = re.compile(r"-v\d+(:\d+)?$")


class BedrockModels(ModelTable):
    """Models by name, with or without the region before it and the version's number behind it."""

    def __getitem__(self, name: str) -> ModelInfo:
        return super().__getitem__(REGION.sub("", VERSION.sub("", name)))


MODELS = BedrockModels(Path(__file__).with_name("models.json"))


@hookimpl
def perstack_register_providers() -> list[ProviderSpec]:
    """The provider ``amazon-bedrock``."""
    return [
        ProviderSpec(
            name="amazon-bedrock",
            summary="Models in Amazon Bedrock.",
            factory=_factory,
            optional_env=(
                "AWS_REGION",
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_SESSION_TOKEN",
                "AWS_BEARER_TOKEN_BEDROCK",
                "AWS_PROFILE",
            ),
            secret_env=("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"),
            setting_keys=frozenset({"region", "profile", "baseUrl", "headers"}),
            api_hosts=("*.amazonaws.com", "*.amazonaws.com.cn", "*.amazonaws.eu"),
            hosts=_hosts,
            region_keys=frozenset({"region", "AWS_REGION"}),
            credentials=_credentials,
            models=MODELS,
        )
    ]


def _factory(context: ProviderContext) -> Provider:
    from perstack_provider_bedrock.provider import BedrockProvider

    return BedrockProvider(context)


def _hosts(context: ProviderContext) -> tuple[str, ...]:
    from perstack_provider_bedrock.provider import server_host

    return (server_host(context),)


def _credentials(context: ProviderContext) -> tuple[str, ...]:
    env = context.env
    if env.get("AWS_BEARER_TOKEN_BEDROCK"):
        return ("AWS_BEARER_TOKEN_BEDROCK",)
    if (context.settings.get("profile") or env.get("AWS_PROFILE")) and not env.get("AWS_ACCESS_KEY_ID"):
        return ("your AWS profile",)
    return ("AWS_SECRET_ACCESS_KEY", *(["AWS_SESSION_TOKEN"] if env.get("AWS_SESSION_TOKEN") else []))
