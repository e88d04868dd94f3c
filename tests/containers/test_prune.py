"""`perstack image prune` removes the caller's old images and no others, tried on engines that hold nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from engines import Engine, Project
from perstack.ids import new_id
from perstack.testing.waiting import eventually
from perstack_containers.image import Recipe
from perstack_containers.labels import BASE, CODE, IMAGE, OWNER, owner_name

pytestmark = pytest.mark.engine

START_SECONDS = 60.0


class Store:
    """The images and containers of an engine of our own, by the engine's own command."""

    def __init__(self, name: str, socket: Path, env: Mapping[str, str], archive: Path) -> None:
        self.env = {**env, ("DOCKER_HOST" if name == "docker" else "CONTAINER_HOST"): f"unix://{socket}"}
        self._command = (name,) if name == "docker" else (name, "--url", f"unix://{socket}")
        self._archive = archive

    def tell(self, *words: str) -> str:
        """What the engine answers."""
        env = {**os.environ, **self.env}
        done = subprocess.run(
            [*self._command, *words], capture_output=True, text=True, timeout=60, env=env, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            self.tell("info")
        except AssertionError:
            return False
        return True

    def put(self, name: str, labels: Mapping[str, str]) -> None:
        """An image with one file and these labels."""
        changes = [f"--change=LABEL {key}={value}" for key, value in labels.items()]
        self.tell("import", *changes, str(self._archive), name)

    def names(self) -> set[str]:
        """The images that are there."""
        rows = self.tell("images", "--format", "{{.Repository}}:{{.Tag}}").split()
        return {row.rpartition("/")[2].removesuffix(":latest") for row in rows}


@pytest.fixture
def store(real: Engine, tmp_path: Path) -> Iterator[Store]:
    """An engine with images of its own, as those that all tests share hold what other versions of perstack use."""
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    place = Path(tempfile.mkdtemp(prefix="perstack-store-"))  # a socket's path is short
    socket = place / "socket"
    if real.name == "docker":
        own = [
            f"--data-root={place}/data",
            f"--exec-root={place}/run",
            f"--pidfile={place}/pid",
            f"--host=unix://{socket}",
        ]
        command = ["dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs", *own]
    else:
        own = [f"--root={place}/data", f"--runroot={place}/run", "--storage-driver=vfs"]
        command = ["podman", *own, "system", "service", "--time=0", f"unix://{socket}"]
    made = Store(real.name, socket, real.env, archive)
    with (tmp_path / "log").open("wb") as log:
        env = {name: value for name, value in {**os.environ, **real.env}.items() if not name.endswith("_HOST")}
        process = subprocess.Popen(["setpriv", "--pdeathsig=TERM", *command], stdout=log, stderr=log, env=env)
        try:
            eventually(made.answers, "the engine answers", seconds=START_SECONDS)
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=START_SECONDS)
            shutil.rmtree(place, ignore_errors=True)


def test_prune_removes_the_callers_old_images_and_none_that_anybody_could_need(store, real, tmp_path) -> None:
    project = Project(tmp_path, "")
    me, stat = owner_name(far=False), project.workspace.stat()
    recipe = Recipe(uid=stat.st_uid or 10001, gid=stat.st_gid or 10001, base=real.base)

    def labels(code: str, base: str = real.base, owner: str = me, image: str = "") -> dict[str, str]:
        return {IMAGE: image or new_id(), CODE: code, BASE: base, OWNER: owner}

    kept = {
        recipe.tag: labels(recipe.code, image=recipe.digest),
        "of-another-workspace": labels(recipe.code),
        "from-a-skills-image": labels(Recipe(uid=0, gid=0, kind="own").code, "skill"),
        "used": labels("earlier"),
        "of-another-user": labels("earlier", owner="4242"),
        "of-nobody-known": {IMAGE: new_id()},
        "not-perstacks": {"kind": "other"},
    }
    removed = {"old": labels("earlier"), "from-another-base": labels(recipe.code, "debian:earlier")}
    for name, found in {**kept, **removed}.items():
        store.put(name, found)
    container = store.tell("create", "--network=none", "used", "/nothing").strip()
    assert store.names() == {*kept, *removed}, "the control: all are there"

    def image(action: str) -> str:
        done = project.perstack(
            "image", action, "--runtime", real.name, "--workspace", str(project.workspace), env=store.env
        )
        assert done.exit_code == 0, done.stderr
        return done.stdout

    said = image("prune").splitlines()
    assert store.names() == set(kept), said
    assert sorted(line.rsplit("  ")[-1].partition(":")[0] for line in said) == ["kept", "removed", "removed"], said
    assert len(image("list").splitlines()) == len(kept) - 1
    store.tell("rm", container)
    image("prune")
    assert store.names() == set(kept) - {"used"}, "the control: it was kept because a container had it"
