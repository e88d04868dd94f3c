"""What this distribution offers to perstack: the command ``image`` for every container runtime that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack.hookspecs import hookimpl
from perstack.specs import CommandSpec

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable


@hookimpl
def perstack_register_commands() -> Iterable[CommandSpec]:
    """The command of this package."""
    return [
        CommandSpec(
            name="image",
            summary="Build, list and prune the images of sandboxes and of their way out",
            configure=_configure,
            run=_run,
        )
    ]


def _configure(parser: argparse.ArgumentParser) -> None:
    from perstack_containers.command import configure

    configure(parser)


def _run(args: argparse.Namespace) -> int:
    from perstack_containers.command import run

    return run(args)
