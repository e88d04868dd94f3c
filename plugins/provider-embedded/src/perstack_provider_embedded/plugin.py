"""What this distribution offers: the provider ``embedded`` and the command ``perstack model``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from perstack.errors import ConfigError, Problem
from perstack.hookspecs import hookimpl
from perstack.specs import CommandSpec, ModelInfo, ProviderContext, ProviderSpec

from perstack_provider_embedded import command
from perstack_provider_embedded.weights import KNOWN, SMOLLM2

if TYPE_CHECKING:
    from perstack.messages import JsonValue
    from perstack.protocols import Provider

THREADS = 1
"""Two threads are a quarter faster on an idle machine with two cores, and eight times slower on a busy one."""
CONTEXT = SMOLLM2.context
MAX_CONTEXT = 1_048_576


def make_provider(context: ProviderContext) -> Provider:
    """The provider with its settings; weights are looked for at the first question.

    Raises:
        ConfigError: A setting is not a number in its range.
    """
    from perstack_provider_embedded.provider import EmbeddedProvider

    return EmbeddedProvider(
        cache_dir=context.cache_dir,
        threads=_setting(context.settings, "threads", THREADS, least=1, most=256),
        context=_setting(context.settings, "contextSize", CONTEXT, least=512, most=MAX_CONTEXT),
    )


def _setting(settings: Mapping[str, JsonValue], key: str, default: int, *, least: int, most: int) -> int:
    value = settings.get(key, default)
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise ConfigError([Problem(key=f"provider.setting.{key}", message=f"{value!r} is not {least} to {most}.")])


@hookimpl
def perstack_register_providers() -> Iterable[ProviderSpec]:
    """The provider ``embedded``."""
    return [
        ProviderSpec(
            name="embedded",
            summary="A small model in this process: no key, no network.",
            factory=make_provider,
            setting_keys=frozenset({"threads", "contextSize"}),
            models={
                model.name: ModelInfo(context_window=model.context, max_output=1024, structured_output=True)
                for model in KNOWN.values()
            },
            default_model=SMOLLM2.name,
        )
    ]


@hookimpl
def perstack_register_commands() -> Iterable[CommandSpec]:
    """The command ``perstack model``."""
    return [
        CommandSpec(
            name="model",
            summary="Fetch and list weights for the embedded model.",
            configure=command.configure,
            run=command.run,
        )
    ]
