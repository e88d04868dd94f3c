"""What attacks report is judged from outside: what got through fails a control, and what cannot tell proves none."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from perstack.proving.attacks import Case
from perstack.proving.findings import Finding, SkillProof, control_proofs
from perstack.proving.network import unlisted
from perstack.proving.outside import Host
from perstack.proving.place import digest
from perstack.proving.prove import ATTACKS
from perstack.proving.report import as_json, as_junit, as_text
from perstack.skill_policy import BUILT_IN, CONTROLS, EgressGrant, Limits, SkillPolicy

MIB = 1024 * 1024
POLICY = SkillPolicy(
    expert="writer",
    skill="tool",
    kind="mcpStdioSkill",
    origin=BUILT_IN,
    egress=(EgressGrant(pattern="api.example.com", origin=BUILT_IN),),
    limits=Limits(memory=64 * MIB, cpus=1.0, pids=32),
    required=frozenset({"env"}),
)
BY_NAME = {attack.name: attack for attack in ATTACKS}
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
REFUSED = "HTTP/1.1 403 Forbidden"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    (tmp_path / "canary").write_text("mark")
    host = Host(
        mark="mark",
        decoy="decoy",
        baits=(tmp_path,),
        canary="canary",
        unix=tmp_path / "sock",
        abstract="name",
        services=(("127.0.0.1", 1),),
        udp=(),
    )
    made = Case(
        number=1,
        policy=POLICY,
        values={"WANTED": "granted-value"},
        environ={"WANTED": "granted-value", "SECRET": "secret-value", "SHORT": "x"},
        workspace=tmp_path,
        host=host,
        brief=False,
    )
    made.blocked.add(unlisted(made))
    return made


def sound(case: Case) -> dict[str, dict]:
    """A report of each attack that got nowhere."""
    answers = dict.fromkeys(BY_NAME["forwarder"].arguments(case)["requests"], REFUSED)
    empty: dict[str, dict] = {
        "environment": {"variables": {"WANTED": digest("mark", "granted-value"), "PATH": digest("mark", "/bin")}},
        "files": {"tried": 9, "read": [], "written": [], "changeable": [], "shown": []},
        "sockets": {"tried": 5, "reached": [], "engines": []},
        "processes": {"seen": 2, "holders": []},
        "root": {"read_only": True, "tried": 500, "made": []},
        "privileges": {
            "capabilities": dict.fromkeys(SETS, 0),
            "no_new_privileges": "1",
            "seccomp": "2",
        },
        "deeds": {"tried": 8, "done": []},
        "identity": {"users": [10001], "groups": [10001], "became_root": False},
        "network": {"devices": [], "routes": [], "reached": [], "sent": [], "tried": 3},
        "names": {"resolved": []},
        "private_addresses": {"tried": 9, "routed": []},
        "forwarder": {"proxy": "127.0.0.1:3128", "answers": answers},
        "memory": {"limit": str(64 * MIB), "swap": "0", "memory_and_swap": "", "host_swap": "1"},
        "processors": {"quota": "100000 100000", "period": "", "used": 1.0, "cores": 8},
        "threads": {"limit": "32", "started": 30, "refused": "can't start new thread"},
    }
    empty["memory"] |= {"used": 40, "ended": True}
    return empty


def verdicts(case: Case, attack: str, **changes: object) -> set[tuple[str, str]]:
    report = {**sound(case)[attack], **changes}
    return {(found.control, found.verdict) for found in BY_NAME[attack].findings(case, report)}


def verdict(case: Case, attack: str, control: str, **changes: object) -> str:
    """Of one attack's findings on one control."""
    findings = BY_NAME[attack].findings(case, {**sound(case)[attack], **changes})
    (proof,) = [one for one in control_proofs(POLICY, CONTROLS, findings) if one.control == control]
    return proof.verdict


def test_AH3_every_attack_that_gets_nowhere_proves_its_controls(case) -> None:
    for attack in ATTACKS:
        assert verdicts(case, attack.name) == {(control, "proved") for control in attack.controls}, attack.name
    assert {control for attack in ATTACKS for control in attack.controls} == set(CONTROLS) - {"limits.disk"}


GOT_THROUGH = [
    ("environment", "env", {"variables": {"PERSTACK_CANARY": "0"}}),
    ("environment", "env", {"variables": {"HARMLESS": digest("mark", "secret-value")}}),
    ("files", "filesystem", {"read": ["/proc/1/root"]}),
    ("files", "filesystem", {"written": ["/mnt"]}),
    ("files", "filesystem", {"changeable": ["perstack.toml"]}),
    ("files", "filesystem", {"shown": [".env"]}),
    ("sockets", "filesystem", {"engines": ["/run/docker.sock"]}),
    ("processes", "filesystem", {"holders": ["77"]}),
    ("root", "rootfs", {"made": ["/etc"]}),
    ("root", "rootfs", {"read_only": False}),
    (
        "privileges",
        "capabilities",
        {"capabilities": dict.fromkeys(SETS, 1)},
    ),
    ("privileges", "capabilities", {"no_new_privileges": "0"}),
    ("privileges", "capabilities", {"seccomp": "0"}),
    ("deeds", "capabilities", {"done": ["open a raw socket"]}),
    ("identity", "user", {"users": [0]}),
    ("identity", "user", {"groups": [0, 5]}),
    ("identity", "user", {"became_root": True}),
    ("network", "network", {"devices": ["eth0"]}),
    ("network", "network", {"routes": ["eth0"]}),
    ("network", "network", {"reached": ["10.0.0.1 port 5"]}),
    ("names", "network", {"resolved": ["1.2.3.4"]}),
    ("private_addresses", "private-addresses", {"routed": ["169.254.169.254"]}),
    ("memory", "limits.memory", {"limit": str(128 * MIB)}),
    ("memory", "limits.memory", {"limit": "max"}),
    ("memory", "limits.memory", {"ended": False}),
    ("memory", "limits.memory", {"used": 100}),
    ("memory", "limits.swap", {"swap": str(MIB)}),
    ("memory", "limits.swap", {"limit": str(2**63 - 4096), "swap": "", "memory_and_swap": str(2**63 - 4096)}),
    ("processors", "limits.cpu", {"quota": "max 100000"}),
    ("processors", "limits.cpu", {"quota": "200000 100000"}),
    ("processors", "limits.cpu", {"used": 3.0}),
    ("threads", "limits.pids", {"limit": "max"}),
    ("threads", "limits.pids", {"started": 40, "refused": ""}),
]


@pytest.mark.parametrize(("attack", "control", "change"), GOT_THROUGH, ids=lambda value: str(value)[:40])
def test_AH3_whatever_got_through_fails_its_control(case, attack, control, change) -> None:
    assert (control, "failed") in verdicts(case, attack, **change)


def test_AH3_what_arrives_outside_fails_a_control_whatever_the_program_inside_says(case) -> None:
    case.host.arrived["127.0.0.1 port 1"] = {case.mark}
    (case.host.baits[0] / "made-1").write_text(case.mark)
    assert ("network", "failed") in verdicts(case, "network")
    assert ("filesystem", "failed") in verdicts(case, "files")
    (case.workspace / f".perstack-{case.mark}").touch()
    (case.host.baits[0] / "made-1").unlink()
    assert ("filesystem", "failed") in verdicts(case, "files"), "a copy was not all that it changed"
    (case.workspace / f".perstack-{case.mark}").unlink()
    case.host.arrived["127.0.0.1 port 1"] = {case.host.marked(2)}
    (case.host.baits[0] / "made-1").write_text(case.host.marked(2))
    assert ("network", "proved") in verdicts(case, "network"), "the control: another skill's mark is that skill's"
    assert ("filesystem", "proved") in verdicts(case, "files")


CANNOT_TELL = [
    ("environment", "env", {"variables": {}}),
    ("processes", "filesystem", {"seen": 0}),
    ("privileges", "capabilities", {"capabilities": {}}),
    ("memory", "limits.memory", {"limit": ""}),
    ("memory", "limits.swap", {"swap": ""}),
    ("processors", "limits.cpu", {"quota": ""}),
    ("threads", "limits.pids", {"limit": ""}),
]


@pytest.mark.parametrize(("attack", "control", "change"), CANNOT_TELL)
def test_AH3_an_attack_that_cannot_tell_never_proves(case, attack, control, change) -> None:
    assert verdict(case, attack, control, **change) == "unknown"


def test_AH3_a_refusal_that_the_gate_has_not_on_record_proves_nothing(case) -> None:
    case.blocked.clear()
    assert verdicts(case, "forwarder") == {("network", "unknown"), ("private-addresses", "unknown")}
    allowed = {**sound(case)["forwarder"]["answers"], "plain HTTP": "HTTP/1.1 200 OK"}
    assert verdict(case, "forwarder", "network", answers=allowed) == "failed"


@pytest.mark.parametrize("answer", ["", "HTTP/1.1 504 Gateway Timeout", "garbage"])
def test_AH3_AN5_a_request_that_is_not_answered_with_a_refusal_proves_nothing_of_its_control(case, answer) -> None:
    answers = {**sound(case)["forwarder"]["answers"], "a tunnel to 169.254.169.254": answer}
    assert verdict(case, "forwarder", "private-addresses", answers=answers) == "unknown"
    assert verdict(case, "forwarder", "network", answers=answers) == "proved", "the control: the others were refused"


@pytest.mark.parametrize("report", [{}, {"variables": 7}, {"variables": {"A": None}, "tried": "many"}])
def test_AM6_a_report_that_makes_no_sense_proves_nothing(case, report) -> None:
    for attack in ATTACKS:
        assert "proved" not in {found.verdict for found in attack.findings(case, report)}, attack.name


def test_a_control_that_is_required_and_unknown_is_broken_and_one_that_is_not_claimed_is_not_judged(case) -> None:
    unknown = Finding(control="env", attack="environment", verdict="unknown", evidence="no answer")
    failed = Finding(control="network", attack="network", verdict="failed", evidence="reached")
    proofs = {one.control: one for one in control_proofs(POLICY, {"env", "rootfs"}, [unknown, failed])}
    assert proofs["env"].broken
    assert proofs["rootfs"].verdict == "unknown"
    assert not proofs["rootfs"].broken, "nobody requires it"
    assert proofs["network"].verdict == "not claimed"


def test_AO2_a_report_holds_no_command_to_a_terminal(case) -> None:
    evil = "\x1b]0;owned\x07\u202e\ud800"
    finding = Finding(control="env", attack="environment", verdict="failed", evidence=evil)
    controls = control_proofs(POLICY, {"env"}, [finding])
    proof = SkillProof(expert=evil, skill="tool", sandbox="id", seconds=1.0, controls=controls)
    text = "\n".join(line for line, _ in as_text([proof]))
    junit = as_junit([proof], runtime="docker")
    told = json.dumps(as_json([proof], runtime="docker", seconds=1.0))
    for shown in (text, junit.decode(), told):
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    (failure,) = ET.fromstring(junit).iter("failure")
    assert "owned" in failure.attrib["message"]
    assert as_json([proof], runtime="docker", seconds=1.0)["ok"] is False
