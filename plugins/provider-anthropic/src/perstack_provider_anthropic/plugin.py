"""What this distribution offers to perstack: Anthropic's models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack.hookspecs import hookimpl
from perstack.specs import ProviderContext, ProviderSpec

from perstack_provider_anthropic.models import DEFAULT_MODEL, MODELS

if TYPE_CHECKING:
    from perstack.protocols import Provider

KEY = "ANTHROPIC_API_KEY"
URL_VARIABLE = "ANTHROPIC_BASE_URL"


@hookimpl
def perstack_register_providers() -> list[ProviderSpec]:
    """The provider ``anthropic``."""
    return [
        ProviderSpec(
            name="anthropic",
            summary="Anthropic.",
            factory=_factory,
            required_env=(KEY,),
            optional_env=(URL_VARIABLE,),
            secret_env=(KEY,),
            setting_keys=frozenset({"baseUrl", "headers"}),
            api_hosts=("api.anthropic.com",),
            hosts=_hosts,
            models=MODELS,
            default_model=DEFAULT_MODEL,
            provider_tools=frozenset({"webSearch", "webFetch", "codeExecution", "providerSkills"}),
        )
    ]


def _factory(context: ProviderContext) -> Provider:
    from perstack_provider_anthropic.provider import MessagesProvider

    return MessagesProvider(context, key=KEY, url_variable=URL_VARIABLE)


def _hosts(context: ProviderContext) -> tuple[str, ...]:
    from perstack.outbound.grants import origin_of

    from perstack_provider_anthropic.provider import server_url

    return (origin_of(server_url(context, url_variable=URL_VARIABLE)),)
