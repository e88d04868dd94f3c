"""What plugins offer under names that users write: runtimes, providers, transports, storages, settings, commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from perstack.errors import PluginConflict, PluginLoadError, PluginMissing
from perstack.plugins.hints import inactive_hint, missing_hint
from perstack.plugins.records import PluginRecord

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer(Generic[T]):
    """A descriptor with the plugin that offers it."""

    plugin: PluginRecord
    spec: T


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue(Generic[T]):
    """All offers of one kind. A name that two plugins offer belongs to neither: nothing is silently replaced.

    Attributes:
        kind: What is offered, in one word for messages.
        offers: Offers by name and by alias.
        names: Names without aliases, sorted.
    """

    kind: str
    offers: Mapping[str, tuple[Offer[T], ...]]
    names: tuple[str, ...]

    def find(self, name: str, records: Iterable[PluginRecord]) -> Offer[T]:
        """The one offer under `name`.

        Raises:
            PluginConflict: Several plugins offer it.
            PluginLoadError: The plugin that is called after it did not load.
            PluginMissing: Nothing offers it; the hint names the package to install.
        """
        found = self.offers.get(name, ())
        if len(found) == 1:
            return found[0]
        if found:
            first, second, *_ = sorted((offer.plugin for offer in found), key=lambda record: record.name)
            raise PluginConflict(
                f"The {self.kind} {name!r} is offered twice: by plugin {first} and by plugin {second}.",
                hint=f"Leave one out: -p no:{second.name}, or block = [{second.name!r}] under [plugins].",
            )
        for record in records:
            if record.name in {name, f"{self.kind}-{name}"} and not record.active:
                raise PluginLoadError(
                    f"The {self.kind} {name!r} is not there: plugin {record} is {record.status}: {record.cause}.",
                    hint=inactive_hint(self.kind, record.name, self.names),
                ) from record.error
        raise PluginMissing(f"There is no {self.kind} {name!r}.", hint=missing_hint(self.kind, name, self.names))

    def unique(self) -> dict[str, T]:
        """Descriptors by name, without aliases and without names that are in conflict."""
        return {name: self.offers[name][0].spec for name in self.names if len(self.offers[name]) == 1}


def catalogue(kind: str, offers: Iterable[Offer[T]], names: Callable[[T], tuple[str, ...]]) -> Catalogue[T]:
    """The catalogue of `offers`, where `names` tells the name of a descriptor, and then its aliases."""
    by_name: dict[str, list[Offer[T]]] = {}
    primary: set[str] = set()
    for offer in offers:
        own = names(offer.spec)
        primary.add(own[0])
        for name in own:
            by_name.setdefault(name, []).append(offer)
    frozen = {name: tuple(found) for name, found in by_name.items()}
    return Catalogue(kind=kind, offers=frozen, names=tuple(sorted(primary)))
