"""One plugin's implementation of one hook, called alone, so that a failure has a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Implementation:
    """A hook implementation with the arguments that it wants.

    Attributes:
        priority: -1 for ``tryfirst``, 1 for ``trylast``, else 0; meaningful where the first answer counts.
    """

    plugin: str
    hook: str
    function: Callable[..., object]
    arguments: tuple[str, ...]
    priority: int = 0

    def call(self, **offered: object) -> object:
        """What the plugin returns. Whatever it raises is raised."""
        return self.function(*(offered[name] for name in self.arguments))

    def collect(self, kind: type[T], **offered: object) -> tuple[T, ...]:
        """Everything the plugin returns or yields, collected to the end before any of it counts.

        Raises:
            TypeError: It is no iterable of `kind`.
        """
        result = self.call(**offered)
        if result is None:
            return ()
        if not isinstance(result, Iterable):
            raise TypeError(f"{self.hook} returned {type(result).__name__}, not an iterable of {kind.__name__}")
        items: tuple[object, ...] = tuple(result)
        return tuple(self._checked(kind, item) for item in items)

    def _checked(self, kind: type[T], item: object) -> T:
        if not isinstance(item, kind):
            raise TypeError(f"{self.hook} gave {type(item).__name__} where {kind.__name__} is due")
        return item
