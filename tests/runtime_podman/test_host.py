"""Which Podman is trusted with untrusted code; the others are refused with what helps."""

from __future__ import annotations

import pytest
from perstack.testing.model_server import ModelServer, Turn
from perstack.testing.project import Project
from perstack_containers.engine import EngineFacts
from perstack_runtime_podman.host import problems


class Engine:
    """Says of itself what it was given."""

    socket_path = "/run/podman/podman.sock"

    def __init__(self, version: str, *, seccomp: bool = True) -> None:
        self._facts = EngineFacts(version=version, rootless=True, cgroups=2, seccomp=seccomp, architecture="amd64")

    def facts(self) -> EngineFacts:
        return self._facts


@pytest.mark.parametrize(
    ("engine", "words"), [(Engine("4.2.0"), "too old"), (Engine("5.0.0", seccomp=False), "seccomp")]
)
def test_AH3_an_engine_that_is_old_or_weaker_is_refused_with_what_helps(engine, words) -> None:
    (problem,) = problems(engine, "", {}, private=False)
    assert words in problem.message
    assert problem.hint
    assert problems(Engine("4.3.1"), "", {}, private=False) == (), "the control"


@pytest.mark.parametrize("asked", ["tcp://127.0.0.1:1", "ssh://me@host.example/run/podman.sock"])
def test_AH3_an_engine_on_another_machine_is_refused_and_never_replaced_by_the_one_here(tmp_path, asked) -> None:
    project = Project(tmp_path, '[experts.box]\ninstruction = "Try."\n')
    env = {"CONTAINER_HOST": asked}
    with ModelServer([Turn(text="not reached")]) as server:
        refused = project.perstack("run", "box", "go", "--runtime", "podman", server=server, env=env)
    assert refused.exit_code == 2
    assert asked in refused.stderr
    assert "another machine" in refused.stderr
    assert server.requests == []
