"""One policy: what a configuration says holds inside, on each engine to the same figure, on local what it claims."""

from __future__ import annotations

import json
import re
import secrets

import pytest
from egress_box import egress_box
from perstack.skill_policy import CONTROLS
from policy_corpus import HELD, HELD_IN_CONTAINERS, Configuration
from proofs import prove, untold, verdicts

pytestmark = pytest.mark.engine

AT_ONCE = 8
"""Skills of one Expert, which all start together."""
NOT_EVERYWHERE = {"limits.disk", "limits.swap"}
FIGURES = re.compile(r"the kernel allows (\S+) of (\S+) ")
"""What the kernel says, and what the policy says."""


def tables(configurations: tuple[Configuration, ...], command: list[str]) -> str:
    """Experts with `AT_ONCE` skills each, called as their configuration."""
    lines = []
    for at, one in enumerate(configurations):
        expert = f"experts.group{at // AT_ONCE}"
        if at % AT_ONCE == 0:
            lines.append(f'[{expert}]\ninstruction = "Try everything."')
        table = f'[{expert}.skills.{one.name}]\ntype = "mcpStdioSkill"\ncommand = "{command[0]}"'
        lines.append(f"{table}\nargs = {json.dumps(command[1:])}\n{one.body}")
    return "\n".join(lines) + "\n"


def values() -> dict[str, str]:
    names = ("WANTED", "OTHER", "THIRD", "UNASKED", "ALSO_UNASKED")
    return {
        "ODD": f'with "quotes", $HOME = and ü {secrets.token_hex(8)}',
        **{name: secrets.token_hex(16) for name in names},
    }


def test_C1_C2_C3_C4_C5_C6_C7_C8_every_configuration_holds_what_it_says_on_each_engine(tmp_path, name) -> None:
    corpus = (*HELD, *HELD_IN_CONTAINERS)
    with egress_box(tmp_path, name) as box:
        box.project.write(tables(corpus, ["python3", "/workspace/probe.py"]))
        before = {path.name: path.read_bytes() for path in box.workspace.iterdir()}
        done = prove(box, "--json", env=values(), expert=None)
        assert {path.name: path.read_bytes() for path in box.workspace.iterdir()} == before
        assert not list(box.project.state.glob("changes/*"))
        assert box.internet.arrivals == []
        assert box.internet.asked() == set()
    report = json.loads(done.stdout)
    assert done.exit_code == 0, "\n".join([*untold(report), done.stderr])
    found = verdicts(report)
    assert {one.name for one in corpus} < set(found)
    for skill, controls in found.items():
        unproved = {control for control, verdict in controls.items() if verdict != "proved"}
        assert unproved <= NOT_EVERYWHERE, (skill, unproved)
    figures = FIGURES.findall(done.stdout)
    assert len(figures) == 3 * len(report["skills"]), "memory, processors and processes of every skill"
    assert [pair for pair in figures if pair[0] != pair[1]] == []


def test_C5_V1_the_same_configurations_hold_what_the_local_runtime_claims(hostile) -> None:
    if hostile.engine.name != "docker":
        return
    hostile.project.write(tables(HELD, ["python3", str(hostile.workspace / "probe.py")]))
    done = prove(hostile, "--json", runtime="local", env=values(), expert=None)
    assert done.exit_code == 0, done.stdout + done.stderr
    found = verdicts(json.loads(done.stdout))
    assert {one.name for one in HELD} < set(found)
    expected = {control: "proved" if control == "env" else "not claimed" for control in CONTROLS}
    assert all(controls == expected for controls in found.values())
