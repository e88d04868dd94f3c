"""Docker without root, run by an ordinary user: skills work on a copy, since mounted files would be somebody else's."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator

import pytest
from engines import CACHE, REPORT, SECONDS, answers, engine, python
from ordinary import FACTS, Ordinary, ordinary_user
from perstack.testing.model_server import Turn
from perstack.testing.project import Project
from perstack_containers.http import containers, volumes
from perstack_containers.labels import RUN

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("rootless")]


@pytest.fixture
def ordinary() -> Iterator[Ordinary]:
    """With the image that their sandboxes start from: this engine has no network to build one with."""
    address = json.loads(REPORT.read_text())["rootless"]["docker"]
    with ordinary_user("docker", {"DOCKER_HOST": address}) as made:
        project, system = Project(made.directory / "build", ""), engine("docker")
        args = ("image", "build", "--runtime", "docker", "--workspace", str(made.workspace))
        built = project.perstack(*args, env={**system.env, "PERSTACK_CACHE_DIR": str(CACHE)}, timeout=SECONDS)
        assert built.exit_code == 0, built.stderr
        tag = built.stdout.split()[1]
        theirs = ("docker", "--host", address)
        if subprocess.run([*theirs, "image", "inspect", tag], capture_output=True, check=False).returncode:
            with subprocess.Popen(
                ["docker", "save", tag], stdout=subprocess.PIPE, env={**os.environ, **system.env}
            ) as save:
                subprocess.run([*theirs, "load"], stdin=save.stdout, capture_output=True, check=True)
        yield made


def test_AF12_AH4_without_root_files_belong_to_the_user_and_what_the_kernel_does_not_let_it_enforce_is_refused(
    ordinary,
) -> None:
    secret = f"canary-{secrets.token_hex(16)}"
    (ordinary.workspace / ".env").write_text(secret)
    more = FACTS + "result['secret'] = os.path.exists('/workspace/.env')\nopen('/workspace/.envrc', 'w').write('x')\n"
    step = (Turn(calls=[python(more)]), Turn(text="done"))
    relaxed = ordinary.relaxed(step)
    (seen,) = answers(relaxed)
    made = ordinary.workspace / "made"
    assert made.read_text() == "inside"
    assert seen["uid"] == made.stat().st_uid == ordinary.workspace.stat().st_uid != 0
    assert seen["secret"] is False
    assert int(seen["caps"], 16) == 0
    assert int(seen["map"][1]) != 0, "the control: root of the engine is nobody here"
    assert not (ordinary.workspace / ".envrc").exists()
    address = ordinary.env["DOCKER_HOST"].removeprefix("unix://")
    assert containers(address, {RUN: ""}) == volumes(address, {RUN: ""}) == [], "nothing is left"
