"""Everything that can be known to be wrong with a configuration before a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from perstack.config.loading import Loaded
from perstack.config.models import RUNTIME, ExpertConfig
from perstack.errors import ConfigError, PluginError, PolicyError, Problem, SandboxUnavailable
from perstack.policy.decide import closure, verdicts
from perstack.policy.provider_tools import provider_tools, told
from perstack.skill_policy import CONTROLS
from perstack.specs import RuntimeContext, RuntimeSpec

if TYPE_CHECKING:
    from perstack.plugins.registry import Registry

DEFAULT_PROVIDER = "anthropic"
"""The original's."""

_UNREAD = {"min_runtime_version": "minRuntimeVersion"}
"""Fields of an Expert that projects of the original may have, and their keys."""


def chosen_provider(loaded: Loaded) -> str:
    """The name of the model provider that a run would take."""
    table = loaded.project.provider
    return table.provider_name if table is not None else DEFAULT_PROVIDER


def chosen_runtime(loaded: Loaded, registry: Registry) -> RuntimeSpec:
    """The runtime that a run would take, or one that can only be asked what it would claim when it is not installed.

    Raises:
        PluginError: It is installed and does not load, or two plugins offer it.
    """
    name = loaded.project.runtime or RUNTIME
    if name in registry.runtimes or any(name in spec.aliases for spec in registry.runtimes.values()):
        return registry.runtime(name)
    return RuntimeSpec(name=name, summary="not installed", factory=_not_installed, claims=frozenset(CONTROLS))


def problems(loaded: Loaded, registry: Registry) -> tuple[Problem, ...]:
    """What is wrong with any Expert: its shape, its delegates, or what it asks for and may not have."""
    found = [problem for some in loaded.broken.values() for problem in some]
    sound = []
    for key, expert in loaded.project.experts.items():
        try:
            closure(loaded, key)
            sound.append(expert)
        except ConfigError as error:
            found += error.problems
    return tuple(dict.fromkeys([*found, *_refused(loaded, sound, registry)]))


def notes(loaded: Loaded, registry: Registry) -> tuple[Problem, ...]:
    """What is not wrong and has no effect, or not here."""
    found = list(loaded.ignored)
    origins = loaded.origins
    for key, expert in loaded.project.experts.items():
        for field, name in _UNREAD.items():
            if field in expert.model_fields_set:
                origin = origins.at("experts", key, name)
                message = f"{name} has no effect"
                found.append(Problem(message=message, where=origin.source, line=origin.line, key=f"Expert {key!r}"))
        if expert.provider_tools or expert.provider_skills:
            field = "providerTools" if expert.provider_tools else "providerSkills"
            origin = origins.at("experts", key, field)
            for line in vendor_tools(expert, loaded, registry):
                problem = Problem(message=line, where=origin.source, line=origin.line, key=f"Expert {key!r}.{field}")
                found.append(problem)
    if loaded.project.perstack_api_base_url:
        origin = origins.at("perstackApiBaseUrl")
        message = "has no effect: the hosted registry is not supported"
        found.append(Problem(message=message, where=origin.source, line=origin.line, key="perstackApiBaseUrl"))
    provider = loaded.project.provider
    if provider is not None:
        found += _missing(lambda: registry.provider(provider.provider_name))
    found += _missing(lambda: registry.runtime(loaded.project.runtime or RUNTIME))
    return tuple(found)


def vendor_tools(expert: ExpertConfig, loaded: Loaded, registry: Registry) -> list[str]:
    """A line for each of the Expert's tools that run at the model's vendor."""
    name = chosen_provider(loaded)
    if name not in registry.providers:
        asked = expert.provider_tools or expert.provider_skills
        return [f"providerTools has no effect while provider {name!r} is not installed"] if asked else []
    runtime = chosen_runtime(loaded, registry)
    return told(provider_tools(expert, loaded, provider=registry.provider(name), runtime=runtime))


def _refused(loaded: Loaded, experts: Sequence[ExpertConfig], registry: Registry) -> tuple[Problem, ...]:
    try:
        runtime = chosen_runtime(loaded, registry)
        policies, found = verdicts(loaded, experts, registry=registry, runtime_spec=runtime, workspace=loaded.directory)
    except (PluginError, PolicyError) as error:
        return (Problem(message=str(error), hint=error.hint),)
    skills = [skill for expert in policies.values() for skill in expert.skills]
    missing = {control for skill in skills for control in skill.required - runtime.claims}
    if not missing:
        return found
    origin = loaded.origins.at("policy", "require")
    message = f"the runtime {runtime.name!r} does not enforce {', '.join(sorted(missing))}"
    hint = "Choose a runtime that does, or go without the control in your own settings."
    return (*found, Problem(message=message, where=origin.source, line=origin.line, key="policy.require", hint=hint))


def _missing(find: Callable[[], object]) -> list[Problem]:
    try:
        find()
    except PluginError as error:
        return [Problem(message=str(error), hint=error.hint)]
    return []


def _not_installed(_context: RuntimeContext) -> NoReturn:
    raise SandboxUnavailable("This runtime is not installed.")
