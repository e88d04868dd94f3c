"""Where a run's questions to the model go, decided before one is asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from perstack.errors import ConfigError, PolicyError
from perstack.messages import JsonObject
from perstack.outbound.grants import origin_of, parse_grant
from perstack.paths import cache_dir
from perstack.policy.validate import chosen_provider
from perstack.specs import HostGrant, ProviderContext, ProviderSpec

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.plugins.registry import Registry

ENGINE_EGRESS = {
    "direct": "checked and recorded by perstack itself",
    "proxy": "through a gate on this machine, which records every connection",
}


def provider_context(spec: ProviderSpec, loaded: Loaded) -> ProviderContext:
    """The provider's own settings and variables, as far as they are there, and nobody else's."""
    table = loaded.project.provider
    values = loaded.host_env.values
    return ProviderContext(
        settings=dict(table.setting) if table is not None and table.provider_name == spec.name else {},
        env={name: values[name] for name in (*spec.required_env, *spec.optional_env) if name in values},
        cache_dir=cache_dir(values),
    )


def model_grants(spec: ProviderSpec, context: ProviderContext, loaded: Loaded) -> tuple[HostGrant, ...]:
    """The places of the provider's traffic. One that the configuration names is its own grant, wherever it is.

    Raises:
        ConfigError: A setting that the address is made of is missing or wrong.
        PolicyError: The provider names something that is no host.
    """
    texts = spec.hosts(context) if spec.hosts is not None else spec.api_hosts
    configured = configured_places(context, loaded)
    try:
        return tuple(
            parse_grant(
                text,
                private=text in configured or _is_special(text),
                origin=configured.get(text, f"provider {spec.name}"),
            )
            for text in texts
        )
    except ValueError as error:
        raise PolicyError(f"Provider {spec.name!r} is broken: it would ask at {error}.") from None


def model_view(loaded: Loaded, registry: Registry) -> JsonObject:
    """The provider, the models and the hosts; host patterns of the vendor where no host follows from the settings."""
    name = chosen_provider(loaded)
    configured = loaded.project.model
    models = [configured] if isinstance(configured, str) else list(configured or ())
    way = loaded.project.policy.engine_egress
    if name not in registry.providers:
        return {"provider": name, "models": [*models], "hosts": [], "engineEgress": way, "installed": False}
    spec = registry.provider(name)
    models = models or [one for one in (spec.default_model,) if one]
    hosts: list[JsonObject] = [
        {"host": str(grant), "private": grant.private, "origin": grant.origin} for grant in _shown(spec, loaded)
    ]
    return {"provider": name, "models": [*models], "hosts": [*hosts], "engineEgress": way, "installed": True}


def model_lines(loaded: Loaded, registry: Registry) -> list[str]:
    """The same in words."""
    view = model_view(loaded, registry)
    if not view["installed"]:
        return [f"Model: provider {view['provider']!r}, which is not installed"]
    models = ", ".join(map(str, view["models"]))  # type: ignore[arg-type]
    grants = _shown(registry.provider(str(view["provider"])), loaded)
    hosts = ", ".join(f"{grant}  [{grant.origin}]" for grant in grants)
    way = loaded.project.policy.engine_egress
    return [
        f"Model: provider {view['provider']!r}, {models or 'no model named'}; asked at {hosts or 'no host'}",
        f"Perstack's own connections: {ENGINE_EGRESS[way]}  [{loaded.origins.at('policy', 'engineEgress')}]",
    ]


def _shown(spec: ProviderSpec, loaded: Loaded) -> tuple[HostGrant, ...]:
    """The grants as far as they can be known without the value of a secret variable."""
    context = provider_context(spec, loaded)
    secrets = {*spec.required_env, *spec.secret_env}
    context = replace(context, env={name: value for name, value in context.env.items() if name not in secrets})
    try:
        return model_grants(spec, context, loaded)
    except ConfigError:
        return tuple(parse_grant(text, origin=f"provider {spec.name}") for text in spec.api_hosts)


def configured_places(context: ProviderContext, loaded: Loaded) -> Mapping[str, str]:
    """The places that settings and variables name as a URL, and where they do."""
    found = {}
    for name, value in context.env.items():
        if (place := _place(value)) is not None:
            found[place] = f"{name}, {loaded.host_env.origins[name]}" if name in loaded.host_env.origins else name
    for key, setting in context.settings.items():
        if isinstance(setting, str) and (place := _place(setting)) is not None:
            found[place] = str(loaded.origins.at("provider", "setting", key))
    return found


def _place(text: str) -> str | None:
    if not text.lower().startswith(("https://", "http://")):
        return None
    try:
        return origin_of(text)
    except ValueError:
        return None


def _is_special(text: str) -> bool:
    """Whether the text says by itself that it is no public place: this machine, or an address that is not public."""
    from perstack_proxy.addresses import special_purpose

    host = parse_grant(text).host
    try:
        return special_purpose(ipaddress.ip_address(host)) is not None
    except ValueError:
        return host == "localhost"
