"""Which models a run asks: what is known of each, what the configuration says of it, and its budget for reasoning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack.engine.models import Model
from perstack.errors import ConfigError, Problem, UsageError
from perstack.model_table import known_model, overridden
from perstack.specs import ModelInfo, ProviderSpec

if TYPE_CHECKING:
    from perstack.config.loading import Loaded

REASONING_TOKENS = {"none": 0, "minimal": 1024, "low": 2048, "medium": 5000, "high": 10000}
"""Tokens for each level of ``reasoningBudget``; the figures are the original's."""


def chosen_models(provider: ProviderSpec, loaded: Loaded) -> tuple[Model, ...]:
    """The configured models in their order, or the provider's default.

    Raises:
        UsageError: There is neither.
        ConfigError: One of them takes no tools, or has no price and the money of the job is limited.
    """
    configured = loaded.project.model
    names = (configured,) if isinstance(configured, str) else configured or (provider.default_model,)
    chosen = [_model(name, provider, loaded) for name in names if name is not None]
    if not chosen:
        raise UsageError(f"Provider {provider.name!r} has no default model.", hint="Name one with --model.")
    problems = [problem for model in chosen for problem in _problems(model, loaded)]
    if problems:
        raise ConfigError(problems)
    return tuple(chosen)


def _model(name: str, provider: ProviderSpec, loaded: Loaded) -> Model:
    info = known_model(provider.models, name)
    table = loaded.project.models.get(name)
    if table is not None:
        info = overridden(info or ModelInfo(), table.model_dump(mode="json", by_alias=True, exclude_unset=True))
    return Model(name=name, info=info, reasoning_tokens=_reasoning_tokens(loaded, info))


def _reasoning_tokens(loaded: Loaded, info: ModelInfo | None) -> int:
    """The budget; of models that are not known to take one, only what somebody asked for."""
    budget = loaded.project.reasoning_budget
    asked_for = loaded.origins.at("reasoningBudget").source != "built-in"
    if not (info is not None and info.reasoning) and not asked_for:
        return 0
    return budget if isinstance(budget, int) else REASONING_TOKENS[budget]


def _problems(model: Model, loaded: Loaded) -> list[Problem]:
    found = []
    info = model.info or ModelInfo()
    if info.tools is False:
        hint = f'Choose another model. If this one does: [models."{model.name}"] tools = true'
        found.append(Problem(message=f"Model {model.name!r} takes no tools, and every Expert has some.", hint=hint))
    if loaded.project.max_cost is not None and info.prices is None:
        hint = f'Write what it costs: [models."{model.name}"] prices = {{ input = 1.0, output = 4.0 }}'
        found.append(Problem(message=f"maxCost is set, and no price of model {model.name!r} is known.", hint=hint))
    return found
