"""Where a run's questions to the model go, before one is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack.errors import ConfigError
from perstack.messages import JsonObject
from perstack.paths import cache_dir
from perstack.policy.validate import DEFAULT_PROVIDER
from perstack.specs import ProviderContext, ProviderSpec

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.plugins.registry import Registry


def model_view(loaded: Loaded, registry: Registry) -> JsonObject:
    """The provider, the models and the hosts; host patterns of the vendor where no host follows from the settings."""
    table = loaded.project.provider
    name = table.provider_name if table is not None else DEFAULT_PROVIDER
    configured = loaded.project.model
    models = [configured] if isinstance(configured, str) else list(configured or ())
    if name not in registry.providers:
        return {"provider": name, "models": [*models], "hosts": [], "installed": False}
    spec = registry.provider(name)
    models = models or [one for one in (spec.default_model,) if one]
    return {"provider": name, "models": [*models], "hosts": [*model_hosts(spec, loaded)], "installed": True}


def model_hosts(spec: ProviderSpec, loaded: Loaded) -> tuple[str, ...]:
    """The hosts of the model's traffic. No value of a secret variable is read for it."""
    table = loaded.project.provider
    settings = dict(table.setting) if table is not None and table.provider_name == spec.name else {}
    values = loaded.host_env.values
    env = {name: values[name] for name in spec.optional_env if name in values and name not in spec.secret_env}
    context = ProviderContext(settings=settings, env=env, cache_dir=cache_dir(values))
    try:
        return spec.hosts(context) if spec.hosts is not None else spec.api_hosts
    except ConfigError:
        return spec.api_hosts


def model_lines(loaded: Loaded, registry: Registry) -> list[str]:
    """The same in words."""
    view = model_view(loaded, registry)
    if not view["installed"]:
        return [f"Model: provider {view['provider']!r}, which is not installed"]
    models, hosts = (", ".join(map(str, view[key])) for key in ("models", "hosts"))  # type: ignore[arg-type]
    return [f"Model: provider {view['provider']!r}, {models or 'no model named'}; asked at {hosts or 'no host'}"]
