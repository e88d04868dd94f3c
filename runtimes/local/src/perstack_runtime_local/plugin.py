"""What this distribution offers to perstack: the runtime ``local``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack.hookspecs import hookimpl
from perstack.specs import RuntimeSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perstack.protocols import Runtime
    from perstack.specs import RuntimeContext


@hookimpl
def perstack_register_runtimes() -> Iterable[RuntimeSpec]:
    """The runtime of this package."""
    return [
        RuntimeSpec(
            name="local",
            summary="Skills are processes of your own user: their environment is filtered, nothing else is enforced.",
            factory=_make,
            claims=frozenset({"env"}),
            aliases=("perstack",),
            packages_at=str,
        )
    ]


def _make(context: RuntimeContext) -> Runtime:
    from perstack_runtime_local.runtime import LocalRuntime

    return LocalRuntime(context)
