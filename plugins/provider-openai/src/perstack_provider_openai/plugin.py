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
        from perstack_provider_openai.provider import ChatProvider

        return ChatProvider(profile, context)

    return ProviderSpec(
        name=profile.name,
        summary=profile.summary,
        factory=factory,
        required_env=(profile.key,) if profile.key else (),
        optional_env=(profile.url_variable, *(variable for variable, _ in profile.header_settings.values())),
        secret_env=(profile.key,) if profile.key else (),
        setting_keys=frozenset({"baseUrl", "headers", *profile.unsent_settings, *profile.header_settings}),
        api_hosts=profile.hosts,
        models=profile.models,
    )
