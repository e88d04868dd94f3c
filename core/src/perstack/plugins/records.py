"""What is known of each plugin, and which plugins are wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

BUILT_IN_PLUGIN = "core"
"""Core's own implementations of hooks; this plugin is always there."""


class Status(StrEnum):
    """How far a plugin came; ``installed`` means that nothing stands in its way and it was not imported yet."""

    INSTALLED = "installed"
    ACTIVE = "active"
    BLOCKED = "blocked"
    NOT_ALLOWED = "not-allowed"
    INCOMPATIBLE = "incompatible"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class PluginRecord:
    """One installed plugin.

    Attributes:
        name: The entry point's name, which ``block``, ``allow`` and ``require`` go by.
        cause: Why it is not active; empty when it is.
        hooks: The hooks that it implements, sorted; known after the import only.
        error: The exception behind `cause`, if there was one.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Status
    summary: str = ""
    cause: str = ""
    hooks: tuple[str, ...] = ()
    error: BaseException | None = field(default=None, repr=False, compare=False)

    @property
    def active(self) -> bool:
        """It takes part."""
        return self.status is Status.ACTIVE

    @property
    def broken(self) -> bool:
        """It is wanted and cannot take part."""
        return self.status in {Status.FAILED, Status.INCOMPATIBLE}

    def __str__(self) -> str:
        return f"{self.name!r} ({self.distribution} {self.version})"


@dataclass(frozen=True, kw_only=True, slots=True)
class PluginSelection:
    """Which installed plugins take part.

    Attributes:
        allow: The only ones that may be imported, or None for all that are installed.
        block: Those that may not be, whatever `allow` says.
        require: Those without which nothing is run.
        left_out: Those of `block` that the command line names, and that have to be installed.
    """

    allow: frozenset[str] | None = None
    block: frozenset[str] = frozenset()
    require: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
