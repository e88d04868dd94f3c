"""What this distribution offers to perstack: Gemini by the Gemini API and by Vertex AI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack.hookspecs import hookimpl
from perstack.specs import ProviderContext, ProviderSpec

from perstack_provider_google.profiles import MODELS, PROFILES, Profile

if TYPE_CHECKING:
    from perstack.protocols import Provider


@hookimpl
def perstack_register_providers() -> list[ProviderSpec]:
    """A provider for each profile."""
    return [spec(profile) for profile in PROFILES]


def spec(profile: Profile) -> ProviderSpec:
    """The profile as perstack takes it."""

    def factory(context: ProviderContext) -> Provider:
        from perstack_provider_google.provider import GoogleProvider

        return GoogleProvider(profile, context)

    def hosts(context: ProviderContext) -> tuple[str, ...]:
        from perstack_provider_google.provider import server_hosts

        return server_hosts(profile, context)

    def credentials(context: ProviderContext) -> tuple[str, ...]:
        return (profile.key,) if profile.key else _login(context)

    project = frozenset({"project", "location"} if profile.project_variables else ())
    optional = (profile.url_variable, *profile.project_variables, profile.credentials_variable)
    return ProviderSpec(
        name=profile.name,
        summary=profile.summary,
        factory=factory,
        required_env=(profile.key,) if profile.key else (),
        optional_env=tuple(name for name in optional if name),
        secret_env=(profile.key,) if profile.key else (),
        setting_keys=project | {"baseUrl", "headers"},
        api_hosts=profile.hosts,
        hosts=hosts,
        region_keys=project | {*profile.project_variables},
        credentials=credentials,
        models=MODELS,
        provider_tools=profile.provider_tools,
    )


def _login(context: ProviderContext) -> tuple[str, ...]:
    """Of Vertex AI: a header in the key's place, else what Google's library finds. A file's name is no key itself."""
    headers = context.settings.get("headers")
    signed = isinstance(headers, dict) and any(name.lower() == "authorization" for name in headers)
    return () if signed else ("your login at Google Cloud",)
