"""The gate alone, and the two ways that stand in for one another: the same verdicts over one corpus."""

from __future__ import annotations

from pathlib import Path

import pytest
from egress_corpus import API, DOMAINS, EXPECTED, Case, publish, verdict, verdicts
from gates import SQUID, SkillEntry, dial, gate, short_folder
from perstack.testing.fnet.internet import Internet

SKILL = SkillEntry(name="one", domains=DOMAINS)
OPEN = ["evil.example.org:443", "93.184.216.34:443", "s0.wild.example.com:443", "wild.example.com:443"]


@pytest.fixture(scope="module")
def world(internet: Internet) -> Internet:
    publish(internet)
    return internet


def permissive(folder: Path) -> Path:
    """A Squid that allows everything, whatever its file says."""
    script = folder / "squid"
    open_file = folder / "open.conf"
    lines = [
        "#!/bin/sh",  # -N -n SERVICE -d 0 -f FILE
        f"sed '/^http_access/d; /^acl special/d' \"$7\" > {open_file}",
        f"echo 'http_access allow all' >> {open_file}",
        f'exec {SQUID} -N -n "$3" -d 0 -f {open_file}',
    ]
    script.write_text("\n".join(lines))
    script.chmod(0o755)
    return script


def test_the_gate_alone_denies_it_in_front_of_a_Squid_that_allows_everything(world, squid):
    with short_folder() as folder:
        folder.chmod(0o777)
        with gate(world, SKILL, way=str(permissive(folder))) as running:
            assert verdicts(lambda: dial(running.socket("one")), world) == EXPECTED
            allowed = [verdict(lambda: world.connect("127.0.0.1", 3201), Case(target=target), world) for target in OPEN]
            assert allowed == [True] * len(OPEN), "this Squid does allow what ours denies"


def test_both_ways_through_the_gate_agree_on_every_case(world, squid):
    found = {}
    for way in ("direct", "squid"):
        with gate(world, SKILL, way=way) as running:
            found[way] = verdicts(lambda: dial(running.socket("one")), world)
    assert found["direct"] == found["squid"] == EXPECTED


def test_AN10_each_skill_has_its_own_port_of_Squid(world, squid):
    skills = [SkillEntry(name="one", domains=[API]), SkillEntry(name="two", domains=["api.example.net"])]
    skills.append(SkillEntry(name="none"))
    hosts = [API, "api.example.net"]
    with gate(world, *skills, way="squid"):
        for at, expected in enumerate([[True, False], [False, True], [False, False]]):
            port = 3201 + at
            found = [
                verdict(lambda port=port: world.connect("127.0.0.1", port), Case(target=f"{host}:443"), world)
                for host in hosts
            ]
            assert found == expected
