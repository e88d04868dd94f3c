"""Which Docker is trusted with untrusted code; the others are refused with what helps."""

from __future__ import annotations

import dataclasses

import pytest
from perstack.testing.model_server import ModelServer, Turn
from perstack.testing.project import Project
from perstack_containers.engine import EngineFacts
from perstack_runtime_docker.host import problems

FIT = EngineFacts(version="20.10.24+dfsg1", rootless=False, cgroups=1, seccomp=True, architecture="amd64")


class Engine:
    """Says of itself what it was given."""

    socket_path = "/var/run/docker.sock"

    def __init__(self, facts: EngineFacts) -> None:
        self._facts = facts

    def facts(self) -> EngineFacts:
        return self._facts


@pytest.mark.parametrize(
    ("change", "words"),
    [({"version": "19.03.1"}, "too old"), ({"seccomp": False}, "seccomp"), ({"rootless": True}, "without root")],
)
def test_AH3_AH4_an_engine_that_is_old_or_weaker_or_without_root_is_refused_with_what_helps(change, words) -> None:
    (problem,) = problems(Engine(dataclasses.replace(FIT, **change)), "")
    assert words in problem.message
    assert problem.hint
    assert problems(Engine(FIT), "") == (), "the control"


@pytest.mark.parametrize("asked", ["tcp://127.0.0.1:1", "ssh://me@host.example", "npipe:////./pipe/docker"])
def test_AH3_an_engine_on_another_machine_is_refused_and_never_replaced_by_the_one_here(tmp_path, asked) -> None:
    project = Project(tmp_path, '[experts.box]\ninstruction = "Try."\n')
    with ModelServer([Turn(text="not reached")]) as server:
        refused = project.perstack("run", "box", "go", "--runtime", "docker", server=server, env={"DOCKER_HOST": asked})
    assert refused.exit_code == 2
    assert asked in refused.stderr
    assert "another machine" in refused.stderr
    assert "name a unix socket" in refused.stderr
    assert server.requests == []
