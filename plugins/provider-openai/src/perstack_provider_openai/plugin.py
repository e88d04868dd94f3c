"""What this distribution offers to perstack: one provider for each server that speaks OpenAI's formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack.hookspecs import hookimpl
from perstack.specs import ProviderContext, ProviderSpec

from perstack_provider_openai.profiles import PROFILES, Profile

if TYPE_CHECKING:
    from perstack.protocols import Provider


@hookimpl
def perstack_register_providers() -> list[ProviderSpec]:
    """A provider for each profile."""
    return [spec(profile) for profile in PROFILES]


def spec(profile: Profile) -> ProviderSpec:
    """The profile as perstack takes it."""

    def factory(context: ProviderContext) -> Provider:
        from perstack_provider_openai.provider import OpenAIProvider

        return OpenAIProvider(profile, context)

    def hosts(context: ProviderContext) -> tuple[str, ...]:
        from perstack_provider_openai.provider import server_hosts

        return server_hosts(profile, context)

    def credentials(context: ProviderContext) -> tuple[str, ...]:
        if profile.token_scope and context.settings.get("auth") == "identity":
            return (f"your login for {profile.name}",)
        return (profile.key,) if profile.key else ()

    return ProviderSpec(
        name=profile.name,
        summary=profile.summary,
        factory=factory,
        required_env=(profile.key,) if profile.key and not profile.token_scope else (),
        optional_env=(profile.key, *profile.optional_variables) if profile.token_scope else profile.optional_variables,
        secret_env=(profile.key,) if profile.key else (),
        setting_keys=profile.settings,
        api_hosts=profile.hosts,
        hosts=hosts,
        credentials=credentials,
        models=profile.models,
        provider_tools=profile.provider_tools,
    )
