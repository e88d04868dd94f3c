"""A skill reaches what its list names through the egress container, and nothing else: whole runs on both engines."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from egress_box import EgressBox, egress_box
from engines import eventually
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack_containers.http import call, volumes
from perstack_containers.labels import RUN, SERVICE, SUPERVISOR

pytestmark = pytest.mark.engine

PUBLIC = "93.184.216.34"
GONE_SECONDS = 10.0


@pytest.fixture
def outside(tmp_path, name) -> Iterator[EgressBox]:
    with egress_box(tmp_path, name) as made:
        made.internet.site("api.example.com", PUBLIC)
        made.internet.site("other.example.com", PUBLIC)
        made.write(made.skill(extra='allowedDomains = ["api.example.com"]'))
        yield made


def egress_containers(real, pid: int) -> list[str]:
    found = [(name, real.inspect(name)) for name in real.containers(pid)]
    return [name for name, state in found if SERVICE in state["Config"]["Labels"]]


def volumes_of(real, pid: int) -> list[str]:
    found = volumes(real.socket, {RUN: ""})
    return [name for name, labels in found if labels.get(SUPERVISOR, "").split("/")[2:3] == [str(pid)]]


def test_N2_C1_a_listed_host_is_reached_and_every_decision_is_in_the_journal(outside) -> None:
    result = outside.run(
        outside.python("result = get('api.example.com')"), outside.python("result = denied('other.example.com')")
    )
    assert result.exit_code == 0, result.stderr
    assert [arrival.server_name for arrival in outside.internet.arrivals] == ["api.example.com"]
    assert outside.internet.asked() == {"api.example.com"}, "a name that nobody listed is not even looked up"
    log = outside.project.perstack("log", "--network", "--json")
    for word in ("proxyAccess", "closed", "allowed", "blocked", '"host"'):
        assert word in log.stdout
    shown = outside.project.perstack("log", "--network", "--skill", "probe").stdout
    assert "probe: allowed api.example.com:443" in shown
    assert "probe: blocked other.example.com:443" in shown
    assert "@perstack/base" not in shown


def test_a_run_without_domains_has_no_egress_container_and_no_volume(outside, real) -> None:
    outside.write()
    with outside.running() as process:
        eventually(lambda: len(real.containers(process.pid)) == 2, "both skills have sandboxes")
        assert egress_containers(real, process.pid) == []
        assert volumes_of(real, process.pid) == []


def test_AH1_the_egress_container_that_is_killed_takes_the_network_with_it_and_the_run_says_so(outside, real) -> None:
    turns = [
        Turn(calls=[outside.python("result = get('api.example.com')")]),
        Turn(calls=[outside.python(UNTIL_THE_GATE_IS_GONE)]),
        Turn(calls=[outside.python("result = tunnel('api.example.com')[0]")]),
        Turn(text="done"),
    ]
    with ModelServer(turns) as server:
        process = outside.project.start(*outside.args(), server=server, env=outside.all_env)
        eventually(lambda: outside.internet.arrivals, "the first call has been made")
        (container,) = egress_containers(real, process.pid)
        call(real.socket, "POST", f"/containers/{container}/kill")
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "no skill has a network any more" in stdout
    assert '"text":"hello"' in stdout, "the control: it was reached before"
    assert '"text":"503"' in stdout
    assert len(outside.internet.arrivals) == 1


UNTIL_THE_GATE_IS_GONE = """
import time
deadline = time.monotonic() + 60
while tunnel("other.example.com")[0] == 403 and time.monotonic() < deadline: time.sleep(0.05)
result = "went on"
"""


def test_AH1_a_kill_leaves_neither_containers_nor_volumes(outside, real) -> None:
    with ModelServer([Turn(calls=[Call("hang", {})]), Turn(text="done")]) as server:
        process = outside.project.start(*outside.args(), server=server, env=outside.all_env)
        eventually(lambda: len(real.containers(process.pid)) == 3, "two sandboxes and the way out")
        assert volumes_of(real, process.pid), "the control: there is a volume"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    eventually(
        lambda: not real.containers(process.pid) and not volumes_of(real, process.pid),
        "nothing is left",
        seconds=GONE_SECONDS,
    )


def test_AN17_the_egress_container_is_as_hardened_as_a_sandbox_and_publishes_nothing(outside, real) -> None:
    with outside.running() as process:
        (container,) = eventually(lambda: egress_containers(real, process.pid), "the egress container is there")
        sandbox = outside.container(process)
        for name in (container, sandbox):
            state = real.inspect(name)
            lines = Path(f"/proc/{state['State']['Pid']}/status").read_text().splitlines()
            kernel = {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}
            assert {int(kernel[each][0], 16) for each in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
            assert (kernel["NoNewPrivs"], kernel["Seccomp"]) == (["1"], ["2"])
            assert "0" not in kernel["Uid"] + kernel["Gid"] + kernel["Groups"]
            host = state["HostConfig"]
            assert host["ReadonlyRootfs"] is True
            assert not host["PortBindings"]
            assert 0 < host["Memory"] < 4 * 1024**3
            assert 0 < host["PidsLimit"] <= 1024
        assert real.inspect(sandbox)["HostConfig"]["NetworkMode"] == "none"
        assert real.inspect(container)["HostConfig"]["NetworkMode"] != "none", "the control: the one with a network"
