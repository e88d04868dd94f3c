"""Which Podman is trusted with untrusted code; the others are refused with what helps."""

from __future__ import annotations

import pytest
from perstack.testing.model_server import ModelServer, Turn
from perstack.testing.project import Project
from perstack_runtime_podman.host import problems


class Engine:
    """Says of itself what it was given."""

    address = "/run/podman/podman.sock"

    def __init__(self, version: str) -> None:
        self._version = version

    def version(self) -> str:
        return self._version


def test_AH3_an_engine_that_is_old_is_refused_with_what_helps() -> None:
    (problem,) = problems(Engine("4.2.0"), "", {}, private=False)
    assert "too old" in problem.message
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
