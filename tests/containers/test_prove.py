"""``perstack prove`` on real engines: what holds is proved, and a control that is off is found, alone and by name."""

from __future__ import annotations

import json
import os
import secrets
from xml.etree import ElementTree as ET

import fake_plugins
import pytest
import weak_runtime
from egress_box import egress_box
from engines import python
from perstack.skill_policy import CONTROLS
from proofs import prove, verdicts
from repository import ROOT

pytestmark = pytest.mark.engine

NOT_EVERYWHERE = {"limits.disk", "limits.swap"}
OWNER = 4321
SECONDS = 60.0
"""The longest that a proof of one runtime may take, once there is an image."""


def test_every_claim_of_a_runtime_is_proved_for_each_skill_within_a_minute(hostile, tmp_path) -> None:
    secret = secrets.token_hex(16)
    opened = 'files = { readable = [".npmrc"], writable = [".npmrc", "perstack.toml"] }'
    base = f'[experts.box.skills."@perstack/base"]\ntype = "mcpStdioSkill"\n{opened}\n'
    hostile.write(base, hostile.skill(extra='requiredEnv = ["WANTED"]\nlimits = { memory = "64MiB", pids = 64 }'))
    (hostile.workspace / ".env").write_text(f"TOKEN={secret}\n")
    (hostile.workspace / ".npmrc").write_text("what is opened to the base skill is no way out of its sandbox\n")
    (hostile.workspace / "perstack.toml").write_text("[experts]\n")
    for path in (hostile.workspace, *hostile.workspace.iterdir()):
        os.chown(path, OWNER, OWNER)  # so that it is mounted and not copied
    junit = tmp_path / "junit.xml"

    done = prove(hostile, "--json", "--junit", str(junit), env={"WANTED": secret})

    assert done.exit_code == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    assert report["seconds"] < SECONDS
    found = verdicts(report)
    assert set(found) == {"@perstack/base", "probe"}
    for controls in found.values():
        assert list(controls) == list(CONTROLS)
        assert {name for name, verdict in controls.items() if verdict != "proved"} <= NOT_EVERYWHERE
        assert controls["limits.disk"] == "not claimed"
    assert "was ended after" in done.stdout, "a limit that is small is filled"
    assert "heard nothing" in done.stdout, "the evidence for the network comes from outside"
    assert secret not in done.stdout + done.stderr + junit.read_text()
    cases = ET.parse(junit).getroot().findall("testsuite/testcase")
    assert len(cases) == 2 * len(CONTROLS)
    assert not ET.parse(junit).getroot().findall("testsuite/testcase/failure")
    assert sorted(path.name for path in hostile.workspace.iterdir()) == [".env", ".npmrc", "perstack.toml", "probe.py"]


def test_each_control_that_is_off_is_found_and_no_other(hostile, tmp_path) -> None:
    if hostile.engine.name != "docker":
        return
    site = tmp_path / "site"
    site.mkdir()
    fake_plugins.install(site, "weak", "from weak_runtime import perstack_register_runtimes\n")
    (hostile.workspace / "perstack.toml").write_text("[experts]\n")
    modes = {"writable-workspace": 'workspaceMode = "ro"'}
    hostile.write(*(hostile.skill(name, modes.get(name, "")) for name in ("sound", *weak_runtime.WEAKNESSES)))
    path = f"{site}:{ROOT / 'tests' / 'support'}"
    hostile.env["SECRET_OF_THE_HOST"] = secrets.token_hex(16)

    done = prove(hostile, "--json", runtime="weak", env={"PYTHONPATH": path})

    assert done.exit_code == 6, done.stdout + done.stderr
    report = json.loads(done.stdout)
    failed = {
        skill: {control for control, verdict in controls.items() if verdict == "failed"}
        for skill, controls in verdicts(report).items()
    }
    assert failed.pop("sound") == set(), "the control: the same runtime with nothing off"
    assert failed.pop("@perstack/base") == set()
    assert failed == {name: controls for name, (_, controls) in weak_runtime.WEAKNESSES.items()}
    assert report["seconds"] < SECONDS


def test_N2_N7_AN5_a_skill_with_domains_is_proved_to_reach_no_other_host_by_what_the_gate_has_on_record(
    tmp_path, name
) -> None:
    with egress_box(tmp_path, name) as box:
        box.internet.site("api.example.com", "93.184.216.34")
        domains = 'allowedDomains = ["api.example.com", "*.wide.example.com"]'
        box.write(box.skill(extra=domains), box.skill("alone"))
        done = prove(box, "--json")
        assert done.exit_code == 0, done.stdout + done.stderr
        (probe,) = [skill for skill in json.loads(done.stdout)["skills"] if skill["skill"] == "probe"]
        attacks = {
            (control["control"], one["attack"]): one["evidence"]
            for control in probe["controls"]
            for one in control["attacks"]
        }
        for control in ("network", "private-addresses"):
            assert "on record" in attacks[control, "forwarder"]
        assert box.internet.arrivals == []
        assert box.internet.asked() == set(), "no name was asked for, not even the one that is allowed"


def test_AH3_a_run_with_prove_tries_every_sandbox_before_a_skill_starts(hostile) -> None:
    result = hostile.run(python("result = 1"), options=("--prove",))
    assert result.exit_code == 0, result.stderr
    proof = result.one("proveBoundary")
    assert proof["ok"] is True
    for controls in proof["verdicts"].values():
        assert {control for control, verdict in controls.items() if verdict != "proved"} <= NOT_EVERYWHERE
    assert proof["durationMs"] < 30_000
    assert result.types.index("proveBoundary") < result.types.index("skillStarting")
