"""What this distribution offers to perstack: models in Amazon Bedrock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perstack.hookspecs import hookimpl
from perstack.model_table import ModelTable
from perstack.specs import ProviderContext, ProviderSpec

if TYPE_CHECKING:
    from perstack.protocols import Provider

MODELS = ModelTable(Path(__file__).with_name("models.json"))
"""By name without the region before it, and without the version's date and number."""


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
            models=MODELS,
        )
    ]


def _factory(context: ProviderContext) -> Provider:
    from perstack_provider_bedrock.provider import BedrockProvider

    return BedrockProvider(context)


def _hosts(context: ProviderContext) -> tuple[str, ...]:
    from perstack_provider_bedrock.provider import server_host

    return (server_host(context),)
