"""Real clients in real sandboxes reach what their skill's list names, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest
from egress_box import AUTHORITY, EgressBox, egress_box
from perstack.testing.project import RunResult
from real_clients import API, EVIL, TRUST, got, publish, words

pytestmark = pytest.mark.engine

ENGINES = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("docker", "podman")]
CLIENTS = ("curl", "urllib", "requests", "httpx2", "node fetch", "git clone", "npm install", "uv install")
LISTED, UNLISTED = "93.184.216.34", "93.184.216.66"
DISTRIBUTIONS = ("requests", "urllib3", "idna", "certifi", "charset-normalizer")
DISTRIBUTIONS += ("httpx2", "httpcore2", "anyio", "h11", "truststore", "typing-extensions")
PROGRAM = """
import os, subprocess
env = {{**os.environ, "GIT_TERMINAL_PROMPT": "0", "HOME": "/tmp", "PYTHONPATH": "/workspace/site"}}
env |= dict.fromkeys({trust!r}.split(), {authority!r})
result = {{}}
for client, words, folder in {commands!r}:
    os.makedirs(folder + "/project", exist_ok=True)
    done = subprocess.run(words, cwd=folder + "/project", env=env, capture_output=True, text=True, timeout=60)
    result[client] = [done.returncode, done.stdout[:100], done.stderr[-300:]]
"""


@dataclass(frozen=True, kw_only=True)
class Story:
    """One run with every client at both hosts, and what it left."""

    box: EgressBox
    result: RunResult
    denied: dict[str, list[object]]
    allowed: dict[str, list[object]]
    before: list[object]


def program(host: str) -> str:
    commands = [
        (one, words(one, host, f"/workspace/{folder(one)}", "/usr/bin/python3"), f"/workspace/{folder(one)}")
        for one in CLIENTS
    ]
    return PROGRAM.format(trust=TRUST, authority=AUTHORITY, commands=commands)


def folder(client: str) -> str:
    return client.replace(" ", "-")


def install_packages(site: Path) -> None:
    """What Python's clients are made of, as it is installed here."""
    for name in DISTRIBUTIONS:
        for file in distribution(name).files or ():
            target = site / file
            if ".." not in file.parts and file.suffix != ".pyc":
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), target)


@pytest.fixture(scope="module", params=ENGINES)
def story(request, tmp_path_factory) -> Iterator[Story]:
    base = tmp_path_factory.mktemp("clients")
    with egress_box(base, request.param) as box:
        box.internet.site(API, LISTED)
        box.internet.site(EVIL, UNLISTED)
        published = base / "published"
        published.mkdir()
        publish(box.internet.pages, published)
        install_packages(box.workspace / "site")
        box.write(box.skill(extra=f'allowedDomains = ["{API}"]\ntimeout = 300000\n'))
        result = box.run(box.python(program(EVIL)), box.python(program(API)))
        assert result.exit_code == 0, result.stderr
        denied, allowed = box.found(result)
        yield Story(box=box, result=result, denied=denied, allowed=allowed, before=box.internet.arrivals)


@pytest.mark.parametrize("client", CLIENTS)
def test_AN21_N2_a_real_client_reaches_the_listed_host_and_not_the_other_one(story: Story, client: str):
    code, printed, said = story.allowed[client]
    assert code == 0, said
    assert got(client, str(printed), story.box.workspace / folder(client))
    code, printed, said = story.denied[client]
    assert code != 0
    assert "hello" not in str(printed)


def test_N2_the_servers_saw_the_listed_name_alone_and_nobody_asked_for_the_other(story: Story):
    assert {arrival.server_name for arrival in story.before} == {API}
    assert {arrival.address for arrival in story.before} == {LISTED}
    assert story.box.internet.asked() == {API}
    story.box.internet.connect(UNLISTED).close()
    assert [arrival.address for arrival in story.box.internet.arrivals][-1] == UNLISTED, "it would have been seen"


def test_Q9_each_clients_denial_and_connection_is_in_the_journal(story: Story):
    records = [event for event in story.result.of("proxyAccess") if event.get("skillName") == "probe"]
    blocked = [event for event in records if event["action"] == "blocked"]
    allowed = [event for event in records if event["action"] == "allowed"]
    assert {event["domain"] for event in blocked} == {EVIL}
    assert {event["domain"] for event in allowed} == {API}
    assert len(blocked) >= len(CLIENTS)
    assert len(allowed) == len(story.before), json.dumps(allowed)
