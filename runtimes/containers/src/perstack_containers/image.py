"""Sandbox images: named by the hash of what decides their content, built on first use, checked before each start."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from perstack.errors import PolicyError, SandboxUnavailable
from perstack.skill_policy import is_pinned

from perstack_containers.context import (
    data,
    derived_context,
    egress_context,
    egress_files,
    sandbox_context,
    sandbox_files,
)
from perstack_containers.http import EngineFailure
from perstack_containers.labels import BASE, CODE, IMAGE, OWNER

if TYPE_CHECKING:
    from perstack_containers.engine import ContainerEngine, Image, ImageStore
    from perstack_containers.report import Stage

Kind = Literal["sandbox", "own", "egress"]

REPOSITORIES: dict[Kind, str] = {"sandbox": "perstack-sandbox", "own": "perstack-sandbox", "egress": "perstack-egress"}
BUILD_FILES: dict[Kind, str] = {
    "sandbox": "Dockerfile",
    "own": "Derived.Dockerfile",
    "egress": "Egress.Dockerfile",
}
DEFAULT_BASE = "docker.io/library/debian@sha256:7c7b2c966bc9ee8cedfeef67e0e279108992c77681fa595db4a9d65c06ccc587"
"""Debian's ``bookworm-20261005-slim``, all architectures; docs/decisions/container-engines.md says how to renew it."""
BASE_VARIABLE = "PERSTACK_SANDBOX_BASE"
LAST_LINES = 15

Progress: TypeAlias = "Callable[[Stage, str], None]"


def base_image(environ: Mapping[str, str]) -> str:
    """What sandbox images start from: the user's own choice, for builds and for runs alike, or Debian's."""
    return environ.get(BASE_VARIABLE) or DEFAULT_BASE


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that decides an image's content.

    Attributes:
        base: The image that it starts from.
        kind: What it is for: a sandbox, a sandbox from a skill's own image, or the way out.
    """

    uid: int
    gid: int
    base: str = field(default_factory=lambda: base_image(os.environ))
    kind: Kind = "sandbox"

    @property
    def code(self) -> str:
        """Names what perstack puts into images of this kind: the build file, every file of ours, the pinned tools."""
        digest = hashlib.sha256()
        parts = dict(egress_files() if self.kind == "egress" else sandbox_files())
        parts["Dockerfile"] = data(BUILD_FILES[self.kind])
        parts["tools"] = data("tools.txt") if self.kind == "sandbox" else b""
        for name, content in sorted(parts.items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()[:32]

    @property
    def digest(self) -> str:
        """Names the content: what perstack puts in, the base and the user."""
        user = "" if self.kind == "own" else f"{self.uid}:{self.gid}"
        return hashlib.sha256(f"{self.code}\0{self.base}\0{user}".encode()).hexdigest()[:32]

    @property
    def tag(self) -> str:
        """The image's name in the engine."""
        return f"{REPOSITORIES[self.kind]}:{self.digest}"


def ready(engine: ContainerEngine, recipe: Recipe) -> Image | None:
    """The image of `recipe` if it is there; its id is what is started, so a tag that moves later changes nothing.

    Raises:
        PolicyError: An image has our name and is not ours.
    """
    found = engine.image(recipe.tag)
    if found is not None and found.labels.get(IMAGE) != recipe.digest:
        raise PolicyError(
            f"The image {recipe.tag!r} was not built by perstack from what its name says.",
            hint="Remove it from the engine; the next run builds it.",
        )
    return found


def build(
    engine: ContainerEngine, images: ImageStore, recipe: Recipe, *, owner: str, cache: Path, progress: Progress
) -> Image:
    """The image of `recipe`, made now. It carries the name of its `owner`, who may remove it when it is old.

    Raises:
        SandboxUnavailable: It could not be made; carries the engine's last lines.
    """
    progress("building", f"building {recipe.tag} from {recipe.base}")
    last: list[str] = []
    args = {"BASE": recipe.base}
    if recipe.kind != "own":
        args |= {"USER_ID": str(recipe.uid), "GROUP_ID": str(recipe.gid)}
    try:
        for line in images.build(
            _context(engine, recipe, cache),
            tag=recipe.tag,
            args=args,
            labels={IMAGE: recipe.digest, CODE: recipe.code, BASE: recipe.base, OWNER: owner},
        ):
            last = [*last[-LAST_LINES:], line]
            if line.lower().startswith("step "):
                progress("building", line)
        found = ready(engine, recipe)
    except EngineFailure as error:
        words = "\n".join([*last, str(error)])
        progress("error", str(error))
        raise SandboxUnavailable(
            f"The {'egress' if recipe.kind == 'egress' else 'sandbox'} image could not be built:\n{words}",
            hint=_other_base(recipe),
        ) from error
    if found is None:
        raise SandboxUnavailable(f"The engine built no image {recipe.tag!r}.", hint="See: perstack doctor")
    if not is_pinned(recipe.base):
        progress("building", _moving(engine, recipe.base))
    progress("complete", recipe.tag)
    return found


def _other_base(recipe: Recipe) -> str:
    """What to do about a base that the engine has not and could not pull."""
    place = "`image` in the skill's table" if recipe.kind == "own" else f"{BASE_VARIABLE} (or --base)"
    return f"If the engine cannot pull {recipe.base!r}, pull or import it yourself, or name another in {place}."


def _moving(engine: ContainerEngine, base: str) -> str:
    """That a base is not pinned, and what would pin it."""
    found = engine.image(base)
    digests = found.digests if found is not None else ()
    advice = f"name {digests[0]} to have this one again" if digests else "only a digest names what is in it"
    return f"{base} is a tag, which another image can get: {advice}"


def _context(engine: ContainerEngine, recipe: Recipe, cache: Path) -> bytes:
    if recipe.kind == "egress":
        return egress_context()
    return derived_context() if recipe.kind == "own" else sandbox_context(engine.facts().architecture, cache)
