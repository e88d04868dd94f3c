"""Which tools of the model's vendor an Expert gets: they run there, with the vendor's own way to the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from perstack.specs import ProviderSpec, RuntimeSpec

if TYPE_CHECKING:
    from perstack.config.loading import Loaded
    from perstack.config.models import ExpertConfig
    from perstack.messages import JsonObject, JsonValue

SKILLS = "providerSkills"
"""The name under which an Expert's skills at the vendor stand among its tools."""
ALLOW = "allow them in your own settings: [policy] allowProviderTools = true"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderTools:
    """The vendor's tools of one Expert.

    Attributes:
        given: Their options, by name.
        withheld: Why the others are not there, by name.
    """

    given: dict[str, JsonObject]
    withheld: dict[str, str]


def provider_tools(
    expert: ExpertConfig, loaded: Loaded, *, provider: ProviderSpec, runtime: RuntimeSpec
) -> ProviderTools:
    """The tools that the Expert names. Where the network is guarded, only the user can open this way around it."""
    given: dict[str, JsonObject] = {}
    withheld: dict[str, str] = {}
    sandboxed = "network" in runtime.claims and not loaded.project.policy.allow_provider_tools
    skills: list[JsonValue] = [skill.model_dump(mode="json", by_alias=True) for skill in expert.provider_skills]
    wanted = {name: expert.provider_tool_options.get(name) for name in expert.provider_tools}
    if skills:
        wanted[SKILLS] = {"skills": skills}
    for name, options in wanted.items():
        if name not in provider.provider_tools:
            withheld[name] = f"provider {provider.name!r} has no such {'skills' if name == SKILLS else 'tool'}"
        elif sandboxed:
            withheld[name] = f"it reaches the network past the sandbox; {ALLOW}"
        else:
            given[name] = options if isinstance(options, dict) else {}
    return ProviderTools(given=given, withheld=withheld)


def told(tools: ProviderTools) -> list[str]:
    """One line for each of them."""
    on = [f"{name}: on, reaches the network from the vendor's side" for name in tools.given]
    return on + [f"{name}: off, {reason}" for name, reason in tools.withheld.items()]
