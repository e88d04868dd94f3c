"""Which Docker is trusted with untrusted code, and spoken to; the others are refused with what helps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from perstack.testing.model_server import ModelServer, Turn
from perstack.testing.project import Project
from perstack_containers.engine import EngineFacts
from perstack_containers.tunnel import tunnel
from perstack_runtime_docker.host import problems, unreachable

FIT = EngineFacts(version="20.10.24+dfsg1", rootless=False, cgroups=1, seccomp=True, architecture="amd64")


class Engine:
    """Says of itself what it was given."""

    address = "/var/run/docker.sock"

    def __init__(self, facts: EngineFacts) -> None:
        self._facts = facts

    def facts(self) -> EngineFacts:
        return self._facts


@pytest.mark.parametrize(
    ("change", "words"),
    [({"version": "19.03.1"}, "too old"), ({"seccomp": False}, "seccomp")],
)
def test_AH3_AH4_an_engine_that_is_old_or_weaker_is_refused_with_what_helps(change, words) -> None:
    (problem,) = problems(Engine(dataclasses.replace(FIT, **change)))
    assert words in problem.message
    assert problem.hint
    assert problems(Engine(FIT)) == (), "the control"


@pytest.mark.parametrize(
    ("asked", "environ", "words"),
    [
        ("tcp://192.0.2.1:2375", {}, "unencrypted"),
        ("tcp://localhost:2375", {}, "unencrypted"),
        ("tcp://127.0.0.1.example.com:2375", {}, "unencrypted"),
        ("tcp://127.0.0.1", {}, "unencrypted"),
        ("tcp://[::1", {}, "unencrypted"),
        ("tcp://127.0.0.1:2376", {"DOCKER_TLS_VERIFY": "1"}, "TLS"),
        ("npipe:////./pipe/docker", {}, "unix://"),
        ("ssh://me:word@host.example", {}, "ssh://[USER@]MACHINE"),
        ("ssh://host.example/sock:/etc/x", {}, "ssh://[USER@]MACHINE"),
        ("ssh://", {}, "ssh://[USER@]MACHINE"),
        ("ssh://host.example:port", {}, "ssh://[USER@]MACHINE"),
    ],
)
def test_AH3_AS6_an_address_where_others_could_listen_is_not_spoken_to(asked, environ, words) -> None:
    (problem,) = unreachable(asked, environ)
    assert words in problem.message
    assert "DOCKER_HOST=ssh://" in problem.hint
    for spoken_to in ("", "unix:///run/docker.sock", "tcp://127.0.0.1:2375", "tcp://[::1]:2375", "ssh://me@host:22"):
        assert unreachable(spoken_to, {}) == (), "the control"


def test_AC5_parts_of_an_address_are_no_options_of_ssh() -> None:
    asked = "ssh://-oProxyCommand=touch@-oProxyCommand=touch:22/run/user/1000/docker.sock"
    service = tunnel(asked, Path("/run/x"), {"HOME": "/home/me", "TOKEN": "secret"})
    assert service.command[-2:] == ("--", "-oProxyCommand=touch@-oproxycommand=touch")
    assert "-L/run/x/docker.sock:/run/user/1000/docker.sock" in service.command
    assert service.environment == {"HOME": "/home/me"}
    assert "-L/run/x/docker.sock:/var/run/docker.sock" in tunnel("ssh://far", Path("/run/x"), {}).command


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("tcp://127.0.0.1:1", "Start the engine, or the tunnel to it"),
        ("tcp://192.0.2.1:2375", "unencrypted"),
        ("npipe:////./pipe/docker", "unix://"),
        ("ssh://nobody@127.0.0.1:1", "Connection refused"),
    ],
)
def test_AH3_an_engine_that_cannot_be_used_is_never_replaced_by_the_one_here(tmp_path, asked, words) -> None:
    project = Project(tmp_path, '[experts.box]\ninstruction = "Try."\n')
    with ModelServer([Turn(text="not reached")]) as server:
        refused = project.perstack("run", "box", "go", "--runtime", "docker", server=server, env={"DOCKER_HOST": asked})
    assert refused.exit_code == 2
    assert asked in refused.stderr
    assert words in refused.stderr
    assert server.requests == []
