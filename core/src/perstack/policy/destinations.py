"""Where a model provider's credentials go: to its vendor, to this machine, and where their owner leads them.

A project may name the model's server, by a setting or by a variable in an env file of its own. What it may not do is
lead there what is not its own: then the run is refused, until the person who runs it allows the place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from perstack.config.keylines import Path, dotted
from perstack.errors import PolicyError, Problem
from perstack.messages import JsonValue
from perstack.outbound.grants import covering, is_loopback, origin_of, parse_grant
from perstack.policy.model_access import configured_places, provider_context
from perstack.policy.validate import chosen_provider
from perstack.skill_policy import Origin
from perstack.specs import HostGrant, ProviderContext, ProviderSpec

if TYPE_CHECKING:
    from perstack.config.loading import Loaded

UNKNOWN = "what it signs in with"
"""The credentials of a provider that has none in variables and does not say what else it takes."""

SETTING: Path = ("provider", "setting")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Value:
    """A setting or a variable of the provider that the project gave."""

    name: str
    key: str
    origin: Origin
    setting: bool


def check_destinations(spec: ProviderSpec, loaded: Loaded) -> None:
    """Nothing of the user's would be sent where only the project wants it.

    Raises:
        PolicyError: Something would; names the place, who named it, what would be sent, and what allows it.
    """
    if found := diversions(spec, loaded):
        raise PolicyError("\n".join(map(str, found)), hint="Nothing was sent.")


def chosen_diversions(loaded: Loaded, providers: Mapping[str, ProviderSpec]) -> tuple[Problem, ...]:
    """Those of the provider that a run would take; none while it is not installed."""
    spec = providers.get(chosen_provider(loaded))
    return diversions(spec, loaded) if spec is not None else ()


def diversions(spec: ProviderSpec, loaded: Loaded) -> tuple[Problem, ...]:
    """A problem for each place that the project alone leads the user's credentials to.

    A place is the project's when it is not asked without the values that the project gave, whatever these are called.
    """
    context = provider_context(spec, loaded)
    values = tuple(_project_values(context, loaded))
    if not values:
        return ()
    known = _grants(spec.api_hosts) | allowed_places(loaded)
    problems = []
    for place in sorted(_places(spec, context, loaded), key=str):
        if is_loopback(place.host) or place in known:
            continue
        namer = _namer(spec, context, place, values, loaded)
        sent = _credentials(spec, context, loaded, namer.origin) if namer is not None else ()
        if namer is not None and sent:
            problems.append(_problem(place, namer, sent, loaded))
    return tuple(problems)


def allowed_places(loaded: Loaded) -> frozenset[HostGrant]:
    """Where the user's own settings let a project lead credentials."""
    return _grants(loaded.project.policy.allow_provider_origins)


def is_allowed(url: str, loaded: Loaded) -> bool:
    """Whether they let it lead them to this URL's server."""
    try:
        return parse_grant(origin_of(url)) in allowed_places(loaded)
    except ValueError:
        return False


def _problem(place: HostGrant, namer: _Value, sent: tuple[str, ...], loaded: Loaded) -> Problem:
    url = str(place) if "://" in str(place) else f"https://{place}"
    allow = f'[projects."{loaded.directory}".policy] allowProviderOrigins = ["{url}"]'
    also = "" if namer.setting else f", or export {namer.name} yourself"
    return Problem(
        message=f"leads {', '.join(sent)} to {place.host!r}, and only you may say where your credentials go",
        where=namer.origin.source,
        line=namer.origin.line,
        key=namer.key,
        hint=f"If you trust it, write in your own settings: {allow}{also}.",
    )


def _project_values(context: ProviderContext, loaded: Loaded) -> Iterator[_Value]:
    for name, setting in context.settings.items():
        origin = _project_origin((*SETTING, name), setting, loaded)
        if origin is not None:
            yield _Value(name=name, key=dotted((*SETTING, name)), origin=origin, setting=True)
    for name in context.env:
        origin = loaded.host_env.origins[name]
        if origin.source not in loaded.operator_sources:
            yield _Value(name=name, key=name, origin=origin, setting=False)


def _project_origin(path: Path, value: JsonValue, loaded: Loaded) -> Origin | None:
    """Where the project wrote `value`, or the first part of it; None where it is all the user's."""
    if isinstance(value, dict) and value:
        parts = (_project_origin((*path, key), inner, loaded) for key, inner in value.items())
        return next((origin for origin in parts if origin is not None), None)
    origin = loaded.origins.at(*path)
    return None if origin.source in loaded.operator_sources else origin


def _namer(
    spec: ProviderSpec, context: ProviderContext, place: HostGrant, values: tuple[_Value, ...], loaded: Loaded
) -> _Value | None:
    """The value of the project without which `place` would not be asked; None where it would be all the same."""
    scheme = "https" if place.tls else "http"
    vendors = covering(tuple(_grants(spec.api_hosts)), scheme=scheme, host=place.host, port=place.port)
    for value in values:
        if vendors is not None and value.name in spec.region_keys:
            continue
        context = _without(context, value)
        if place not in _places(spec, context, loaded):
            return value
    return None


def _without(context: ProviderContext, value: _Value) -> ProviderContext:
    if value.setting:
        return replace(context, settings={name: one for name, one in context.settings.items() if name != value.name})
    return replace(context, env={name: one for name, one in context.env.items() if name != value.name})


def _places(spec: ProviderSpec, context: ProviderContext, loaded: Loaded) -> frozenset[HostGrant]:
    """Where the provider asks; of one that does not say it exactly, also every URL that it is given.

    None where it cannot tell: it is connected to nothing then.
    """
    try:
        texts = (
            spec.hosts(context) if spec.hosts is not None else (*spec.api_hosts, *configured_places(context, loaded))
        )
    except Exception:  # noqa: BLE001 a plugin may raise anything where a value is missing
        return frozenset()
    return _grants(texts)


def _grants(texts: Iterable[str]) -> frozenset[HostGrant]:
    """What the texts mean, without those that mean nothing: no connection is made to them either."""
    found = set()
    for text in texts:
        with suppress(ValueError):
            found.add(parse_grant(text))
    return frozenset(found)


def _credentials(spec: ProviderSpec, context: ProviderContext, loaded: Loaded, named: Origin) -> tuple[str, ...]:
    """What would be sent and does not stand in the very file that names the place."""
    if spec.credentials is not None:
        names = spec.credentials(context)
    else:
        keys = dict.fromkeys((*spec.required_env, *spec.secret_env))
        names = tuple(name for name in keys if name in context.env or name in spec.required_env) or (UNKNOWN,)
    origins = loaded.host_env.origins
    sent = [name for name in names if name not in origins or origins[name].source != named.source]
    headers = context.settings.get("headers")
    if isinstance(headers, dict):
        own = [
            name for name in headers if loaded.origins.at(*SETTING, "headers", name).source in loaded.operator_sources
        ]
        sent += [f"the header {name!r} of your own settings" for name in own]
    return tuple(sent)
