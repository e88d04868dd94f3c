"""Squid's own verdict, with the gate bypassed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from egress_corpus import API, DOMAINS, EXPECTED, Ask, Case, publish, verdict, verdicts
from gates import PROXY, SQUID, SkillEntry, policy_line, short_folder
from perstack.testing.fnet.internet import Internet

SKILL = SkillEntry(name="one", domains=DOMAINS)


@pytest.fixture(scope="module")
def world(internet: Internet) -> Internet:
    publish(internet)
    return internet


@pytest.fixture(scope="module")
def squid_alone(world, squid) -> Iterator[Ask]:
    """Connections straight to the port that Squid has for the skill, past the gate."""
    with short_folder() as folder:
        file = folder / "squid.conf"
        line = policy_line([SKILL], folder)
        file.write_bytes(subprocess.run([*PROXY, "squid-config"], input=line, capture_output=True, check=True).stdout)
        with running_squid(world, file):
            yield lambda: world.connect("127.0.0.1", 3201)


class running_squid:  # noqa: N801 - used as a function
    def __init__(self, world: Internet, file: Path) -> None:
        self._world = world
        self._process = subprocess.Popen(
            world.namespace.command(SQUID, "-N", "-n", f"alone{os.getpid()}", "-f", str(file))
        )

    def __enter__(self) -> None:
        deadline = time.monotonic() + 15
        while True:
            try:
                self._world.connect("127.0.0.1", 3201).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "Squid does not listen"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()  # it removes its shared memory
        self._process.wait(15)


def test_Squid_alone_denies_what_is_not_allowed(world, squid_alone):
    assert verdicts(squid_alone, world) == EXPECTED


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD", "OPTIONS", "TRACE", "DELETE", "PURGE"])
def test_N7_Squid_alone_denies_everything_but_CONNECT(world, squid_alone, method):
    world.forget()
    host = f"{method.lower()}.wild.example.com"  # allowed, and not yet looked up
    with squid_alone() as client:
        client.settimeout(15)
        client.sendall(f"{method} http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        status = client.recv(65536).split()[1]
    assert status in (b"403", b"405")
    assert world.arrivals == []
    assert host not in world.asked()
    assert verdict(squid_alone, Case(target=f"{host}:443"), world)


def test_AN1_Squid_alone_does_not_ask_what_an_address_is_called(world, squid_alone):
    world.pointer("93.184.216.34", API)
    world.forget()
    assert not verdict(squid_alone, Case(target="93.184.216.34:443"), world)
    assert world.queries == []
    assert verdict(squid_alone, Case(target=f"{API}:443"), world)


def test_N16_Squid_alone_keeps_an_answer_so_that_a_flip_cannot_pass_between_check_and_use(world, squid_alone):
    flips = iter([["93.184.216.34"]] * 2 + [["10.0.0.1"]] * 1000)
    world.name("flip.wild.example.com", lambda: next(flips))
    world.forget()
    for _ in range(50):
        verdict(squid_alone, Case(target="flip.wild.example.com:443"), world)
    assert {arrival.address for arrival in world.arrivals} == {"93.184.216.34"}
    assert [query.type for query in world.queries if query.name == "flip.wild.example.com"] == ["A", "AAAA"]
