"""Each wire format as a run uses it: its table in a configuration, and the variables that lead to the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perstack.testing.model_server import ModelServer

KEY = "key-of-the-tests"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vendor:
    """One provider: `table` goes before the rest of ``perstack.toml``."""

    table: str
    variables: Callable[[ModelServer], dict[str, str]]


def _table(provider: str, **settings: str) -> str:
    lines = "".join(f'{key} = "{value}"\n' for key, value in settings.items())
    setting = f"[provider.setting]\n{lines}" if lines else ""
    return f'model = "scripted"\n[provider]\nproviderName = "{provider}"\n{setting}'


def _google(server: ModelServer) -> dict[str, str]:
    url = f"{server.url}/v1beta"
    return {"GOOGLE_GENERATIVE_AI_API_KEY": KEY, "GOOGLE_GENERATIVE_AI_BASE_URL": url}


VENDORS = {
    "chat": Vendor(table=_table("openai"), variables=lambda server: {"OPENAI_BASE_URL": server.openai_url}),
    "responses": Vendor(
        table=_table("openai", api="responses"), variables=lambda server: {"OPENAI_BASE_URL": server.openai_url}
    ),
    "anthropic": Vendor(
        table=_table("anthropic"), variables=lambda server: {"ANTHROPIC_BASE_URL": server.anthropic_url}
    ),
    "google": Vendor(table=_table("google"), variables=_google),
    "bedrock": Vendor(
        table=_table("amazon-bedrock", region="eu-central-1", baseUrl="{url}"),
        variables=lambda _server: {"AWS_BEARER_TOKEN_BEDROCK": KEY},
    ),
}
"""By a short name for the format."""


def table(vendor: str, server: ModelServer) -> str:
    """The vendor's table for runs that ask `server`."""
    return VENDORS[vendor].table.replace("{url}", server.url)
