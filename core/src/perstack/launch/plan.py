"""What a run will be: decided from the request, the configuration and the plugins, before anything is started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from perstack.engine.models import Model
from perstack.errors import ConfigError, Problem
from perstack.launch.models import chosen_models
from perstack.launch.request import RunRequest
from perstack.locking.holding import Held, project_lock
from perstack.policy.decide import Decision, decide, secret_values
from perstack.policy.destinations import check_destinations
from perstack.policy.env import env_values
from perstack.policy.model_access import model_grants, provider_context
from perstack.policy.provider_tools import ProviderTools, provider_tools
from perstack.policy.validate import chosen_provider
from perstack.redaction import Redactor
from perstack.specs import EgressSettings, HostGrant, Network, ProviderContext, ProviderSpec, Proxy, RuntimeSpec

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.config.models import Project
    from perstack.plugins.registry import Registry

DEFAULT_RUNTIME = "docker"
"""A run without ``--runtime`` wants isolation, and fails where there is none."""

PROXY_VARIABLES = ("PERSTACK_PROXY_URL", "HTTPS_PROXY", "https_proxy")
"""Variables that name the proxy for the model's traffic; the first that is set counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """A run that may start.

    Attributes:
        models: The models to ask, first to last.
        provider_tools: The vendor's tools of each Expert, by key.
        held: The lock that skills are held to.
        redactor: Knows the secrets of the run: the provider's and those that skills get.
    """

    request: RunRequest
    loaded: Loaded
    registry: Registry
    runtime: RuntimeSpec
    provider: ProviderSpec
    provider_context: ProviderContext = field(repr=False)
    models: tuple[Model, ...]
    provider_tools: Mapping[str, ProviderTools]
    decision: Decision
    held: Held
    redactor: Redactor = field(repr=False)
    egress: EgressSettings


def make_plan(request: RunRequest, loaded: Loaded, registry: Registry) -> RunPlan:
    """The plan for `request`.

    Raises:
        ConfigError: A value that the run needs is missing or does not fit.
        PluginError: The runtime or the provider is not installed.
        PolicyError: What the configuration asks for is not allowed, or is not locked and has to be.
        LockMismatch: The configuration is not what was locked.
    """
    project = loaded.project
    runtime = registry.runtime(project.runtime or DEFAULT_RUNTIME)
    provider = registry.provider(chosen_provider(loaded))
    context = _provider_context(provider, loaded)
    check_destinations(provider, loaded)
    network = Network(proxy=proxy_of_environment(loaded.host_env.values), grants=_grants(provider, context, loaded))
    context = replace(context, network=network)
    decision = decide(
        loaded,
        request.expert,
        registry=registry,
        runtime_spec=runtime,
        workspace=request.workspace,
        extra_env=request.extra_env,
    )
    held = project_lock(loaded, os.environ)
    decision = held.decision(decision, runtime)
    for policy in decision.experts[request.expert].skills:
        env_values(policy, loaded.host_env)  # a missing value is said before there is a job
    secret_env = {name: context.env[name] for name in provider.secret_env if name in context.env}
    egress = egress_settings(project)
    parent = Proxy(url=egress.parent_proxy).secrets if egress.parent_proxy else ()
    passwords = (*(network.proxy.secrets if network.proxy else ()), *parent)
    proxy = {f"proxy password {number}": one for number, one in enumerate(passwords)}
    secrets = secret_values(decision, loaded.host_env, {**secret_env, **_header_secrets(context), **proxy})
    return RunPlan(
        request=request,
        loaded=loaded,
        registry=registry,
        runtime=runtime,
        provider=provider,
        provider_context=context,
        models=chosen_models(provider, loaded),
        provider_tools={
            key: provider_tools(policy.expert, loaded, provider=provider, runtime=runtime)
            for key, policy in decision.experts.items()
        },
        decision=decision,
        held=held,
        redactor=Redactor(secrets, public=[str(request.workspace)]),
        egress=egress,
    )


def egress_settings(project: Project) -> EgressSettings:
    """The way out of this machine's network, as the user's own settings name it."""
    table = project.egress
    return EgressSettings(network=table.network, name_servers=table.name_servers, parent_proxy=table.parent_proxy or "")


def _provider_context(spec: ProviderSpec, loaded: Loaded) -> ProviderContext:
    """What the provider is made with.

    Raises:
        ConfigError: A variable that it cannot work without is not set.
    """
    problems = [
        Problem(
            message=f"{name} is not set, and provider {spec.name!r} needs it",
            hint="Set it in the environment or in an env file, or choose another --provider.",
        )
        for name in spec.required_env
        if name not in loaded.host_env.values
    ]
    if problems:
        raise ConfigError(problems)
    return provider_context(spec, loaded)


def _grants(spec: ProviderSpec, context: ProviderContext, loaded: Loaded) -> tuple[HostGrant, ...]:
    """Nothing where a setting is wrong: the provider says so when it is made, and then it is on record."""
    try:
        return model_grants(spec, context, loaded)
    except ConfigError:
        return ()


def proxy_of_environment(values: Mapping[str, str]) -> Proxy | None:
    """The proxy that the variables name for traffic of perstack's own, or None."""
    variable = next((name for name in PROXY_VARIABLES if values.get(name, "").strip()), None)
    if variable is None:
        return None
    bypass = values.get("NO_PROXY") or values.get("no_proxy", "")
    entries = tuple(entry.strip() for entry in bypass.split(",") if entry.strip())
    return Proxy(url=values[variable].strip(), bypass=entries, variable=variable)


def _header_secrets(context: ProviderContext) -> dict[str, str]:
    headers = context.settings.get("headers")
    if not isinstance(headers, dict):
        return {}
    return {f"header {name}": value for name, value in headers.items() if isinstance(value, str)}
