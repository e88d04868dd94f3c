"""``perstack image build|list|prune``: the images of every container runtime that works here."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from perstack.errors import ExitCode, SandboxUnavailable, UsageError
from perstack.ids import new_id
from perstack.paths import cache_dir
from perstack.specs import RuntimeContext
from perstack.staging.copies import sandbox_owner
from perstack_proxy.limits import MIB
from perstack_proxy.sanitise import sanitise_line

from perstack_containers.host import Host, running_service
from perstack_containers.http import EngineFailure
from perstack_containers.image import BASE_VARIABLE, BUILD_FILES, Kind, Recipe, base_image, build, ready
from perstack_containers.labels import BASE, CODE, IMAGE, OWNER, owner_name
from perstack_containers.runtime import ContainerRuntime

if TYPE_CHECKING:
    from perstack.plugins.registry import Registry

KINDS: tuple[Kind, ...] = ("sandbox", "egress")
"""The images of one user: for their sandboxes, and for the way out of them."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``perstack image``."""
    parser.add_argument("action", choices=("build", "list", "prune"))
    parser.add_argument("--runtime", metavar="NAME", action="append", default=[], help="runtimes (default: all)")
    base = base_image(os.environ)
    parser.add_argument(
        "--base",
        metavar="IMAGE",
        default=base,
        help=f"a Debian image, best by digest; runs start from the one in {BASE_VARIABLE} (default: {base})",
    )
    parser.add_argument("--workspace", metavar="DIR", default=".", help="build for the user of this workspace")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for each runtime."""
    uid, gid = sandbox_owner(Path(args.workspace).resolve())
    recipes = [Recipe(uid=uid, gid=gid, base=args.base, kind=kind) for kind in KINDS]
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hosts = dict(_hosts(args.registry, args.runtime, place))
        if not hosts:
            raise UsageError("No container runtime works here.", hint="See: perstack doctor")
        for name, host in hosts.items():
            stack.enter_context(running_service(host))
            try:
                if args.action == "build":
                    for recipe in recipes:
                        _build(name, host, recipe)
                else:
                    _list(name, host, recipes, prune=args.action == "prune")
            except EngineFailure as error:
                raise SandboxUnavailable(
                    f"{host.engine.name} failed: {sanitise_line(str(error))}", hint="See: perstack doctor"
                ) from error
    return ExitCode.COMPLETED


def _hosts(registry: Registry, names: list[str], place: Path) -> Iterator[tuple[str, Host]]:
    for name in names or registry.runtimes:
        context = RuntimeContext(run_id=new_id(), job_id="image", state_dir=place, notify=lambda _: None)
        runtime = registry.runtime(name).factory(context)
        if isinstance(runtime, ContainerRuntime):
            problems = runtime.host.preflight()
            if not problems:
                yield name, runtime.host
            elif names:
                raise UsageError("\n".join(map(str, problems)))


def _build(name: str, host: Host, recipe: Recipe) -> None:
    if ready(host.engine, recipe) is None:
        build(
            host.engine,
            host.images(),
            recipe,
            owner=owner_name(far=host.far),
            cache=cache_dir(os.environ),
            progress=lambda _, line: print(f"{name}: {sanitise_line(line)}", file=sys.stderr),
        )
    print(f"{name}: {recipe.tag}")


def _is_old(labels: Mapping[str, str], kinds: Mapping[str, Kind], base: str) -> bool:
    """Whether no run of this perstack would start an image of ours: its code is another's, or it is not from `base`.

    Those for the users of other workspaces and those from skills' own images are not old: runs start them too.
    """
    kind = kinds.get(labels.get(CODE, ""))
    return kind is None or (kind != "own" and labels.get(BASE) != base)


def _list(name: str, host: Host, recipes: Sequence[Recipe], *, prune: bool) -> None:
    images, digests = host.images(), [recipe.digest for recipe in recipes]
    owner, base = owner_name(far=host.far), recipes[0].base
    kinds = {Recipe(uid=0, gid=0, base="", kind=kind).code: kind for kind in BUILD_FILES}
    for found in images.images(IMAGE):
        line = f"{name}: {', '.join(found.tags) or found.id}  {found.size // MIB} MiB"
        if BASE in found.labels:
            line += f"  from {sanitise_line(found.labels[BASE])}"
        if prune and found.labels.get(OWNER) == owner and _is_old(found.labels, kinds, base):
            try:
                images.remove(found.id)
            except EngineFailure as error:  # a container uses it
                line += f"  kept: {sanitise_line(str(error))}"
            else:
                line += "  removed"
            print(line)
        elif not prune:
            print(f"{line}{'  in use for you' if found.labels.get(IMAGE) in digests else ''}")
