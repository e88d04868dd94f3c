"""Images: named by what is in them, from a base that is pinned, with the words for those that are not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from perstack.errors import SandboxUnavailable
from perstack_containers.context import data
from perstack_containers.engine import Image
from perstack_containers.http import EngineFailure
from perstack_containers.image import DEFAULT_BASE, Recipe, build, ready

DIGEST = f"sha256:{'0f' * 32}"


class Images:
    """An engine that builds what it is told, unless it cannot pull the base."""

    def __init__(self, *there: str, pulls: bool = True) -> None:
        self._images = {name: Image(id=name, digests=(f"debian@{DIGEST}",)) for name in there}
        self._pulls = pulls

    def image(self, name: str) -> Image | None:
        return self._images.get(name)

    def build(self, context: bytes, *, tag: str, args: dict[str, str], labels: dict[str, str]) -> Iterator[str]:
        yield f"Step 1/2 : FROM {args['BASE']}"
        if not self._pulls:
            raise EngineFailure("no such host")
        self._images[tag] = Image(id=tag, labels=labels)


def told(base: str, *there: str, pulls: bool = True) -> list[str]:
    """What a person reads while an image is made from `base`."""
    images, lines = Images(*there, pulls=pulls), []
    recipe = Recipe(uid=1000, gid=1000, base=base, kind="own")
    made = build(images, images, recipe, owner="1", cache=Path(), progress=lambda _, line: lines.append(line))
    assert made.labels["perstack.base"] == base
    return lines


def test_an_image_is_named_by_all_that_decides_its_content() -> None:
    recipes = [
        Recipe(uid=1000, gid=1000),
        Recipe(uid=1001, gid=1000),
        Recipe(uid=1000, gid=1000, base="debian:trixie-slim"),
        Recipe(uid=1000, gid=1000, base="debian:trixie-slim", kind="own"),
        Recipe(uid=1000, gid=1000, kind="egress"),
    ]
    assert len({recipe.tag for recipe in recipes}) == len(recipes)
    assert recipes[0].tag == Recipe(uid=1000, gid=1000).tag
    assert ready(Images(), recipes[0]) is None


def test_W_54_the_base_is_a_digest_with_the_name_of_its_registry_and_tools_come_with_their_hashes(monkeypatch) -> None:
    monkeypatch.delenv("PERSTACK_SANDBOX_BASE", raising=False)
    assert re.fullmatch(r"docker\.io/library/debian@sha256:[0-9a-f]{64}", DEFAULT_BASE)
    for kind in ("sandbox", "egress"):
        assert Recipe(uid=1000, gid=1000, kind=kind).base == DEFAULT_BASE
    for tool in re.split(r"\n(?=\S)", data("tools.txt").decode().strip()):
        assert re.fullmatch(r"[\w-]+==[\w.]+( \\\n +--hash=sha256:[0-9a-f]{64})+", tool), tool


def test_the_base_that_the_user_names_is_the_one_of_builds_and_of_runs(monkeypatch) -> None:
    usual = Recipe(uid=1000, gid=1000, base=DEFAULT_BASE)
    monkeypatch.setenv("PERSTACK_SANDBOX_BASE", "debian@sha256:0123")
    assert Recipe(uid=1000, gid=1000).base == "debian@sha256:0123"
    assert Recipe(uid=1000, gid=1000).tag != usual.tag
    monkeypatch.setenv("PERSTACK_SANDBOX_BASE", "")
    assert Recipe(uid=1000, gid=1000) == usual


def test_W_54_a_base_that_is_only_a_tag_is_taken_and_the_digest_that_would_pin_it_is_shown() -> None:
    (line,) = [line for line in told("debian:trixie", "debian:trixie") if "is a tag" in line]
    assert f"debian@{DIGEST}" in line
    assert any("is a tag" in line for line in told("debian:trixie")), "also where the engine cannot say its digest"
    for pinned in (f"debian@{DIGEST}", DIGEST):
        assert not any("is a tag" in line for line in told(pinned)), "the control"


def test_a_base_that_cannot_be_pulled_is_an_error_that_says_where_another_can_be_named() -> None:
    with pytest.raises(SandboxUnavailable, match="no such host") as refused:
        told("debian:trixie", pulls=False)
    assert "'debian:trixie'" in refused.value.hint
    assert "`image`" in refused.value.hint, "the image of a skill is named in its table"


@pytest.mark.engine
def test_images_are_built_once_and_listed_with_their_base_and_a_base_that_is_not_there_is_refused(hostile) -> None:
    def image(*words: str) -> object:
        options = ("--runtime", hostile.engine.name, "--workspace", str(hostile.workspace))
        return hostile.project.perstack("image", *words, *options, env=hostile.all_env, timeout=400)

    assert image("build").exit_code == 0
    again = image("build")
    assert "building" not in again.stderr
    assert hostile.engine.image in again.stdout
    (line,) = [line for line in image("list").stdout.splitlines() if hostile.engine.image in line]
    assert line.endswith(f"from {hostile.engine.base}  in use for you")

    refused = image("build", "--base", "127.0.0.1:1/nothing:1")
    assert refused.exit_code != 0
    assert "could not be built" in refused.stderr
    assert "PERSTACK_SANDBOX_BASE" in refused.stderr
