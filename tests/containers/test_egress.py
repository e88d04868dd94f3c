"""A skill reaches what its list names through the egress container, and nothing else: whole runs on both engines."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
from egress_box import EgressBox, egress_box
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.waiting import eventually
from perstack_containers.http import call, containers, volumes
from perstack_containers.labels import RUN, SERVICE, SKILL, SUPERVISOR

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
    return [name for name, labels in containers(real.address, {RUN: "", SERVICE: ""}) if is_of(pid, labels)]


def volumes_of(real, pid: int) -> list[str]:
    return [name for name, labels in volumes(real.address, {RUN: ""}) if is_of(pid, labels)]


def is_of(pid: int, labels: dict[str, str]) -> bool:
    return labels.get(SUPERVISOR, "").split("/")[2:3] == [str(pid)]


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
        eventually(lambda: len(server.requests) >= 2, "the first call has been answered", seconds=120)
        assert outside.internet.arrivals
        (container,) = egress_containers(real, process.pid)
        call(real.address, "POST", f"/containers/{container}/kill")
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "no skill has a network any more" in stdout
    assert '"text":"hello"' in stdout, "the control: it was reached before"
    assert '"text":"503"' in stdout
    assert len(outside.internet.arrivals) == 1


UNTIL_THE_GATE_IS_GONE = """
import time
deadline = time.monotonic() + 60
def is_denied():
    try: return tunnel("other.example.com")[0] == 403
    except (OSError, IndexError): return True  # it ended in the middle of this one
while is_denied() and time.monotonic() < deadline: time.sleep(0.05)
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


STOPPED = """
import os, signal
def reads(pid, what):
    try: return os.listdir(f"/proc/{pid}/{what}")
    except PermissionError: return "refused"
others = [pid for pid in os.listdir("/proc") if pid.isdigit() and pid != "1"]
(forwarder,) = [pid for pid in others if b"pid1.py" in open(f"/proc/{pid}/cmdline", "rb").read()]
os.kill(int(forwarder), signal.SIGSTOP)
result = [reads(forwarder, "fd"), reads("self", "fd") != "refused", get("api.example.com")]
"""


def test_AN16_a_skill_cannot_look_into_its_forwarder_which_is_not_on_the_way_of_a_connection(outside) -> None:
    result = outside.run(outside.python(STOPPED))
    assert outside.found(result) == [["refused", True, "hello"]], result.stderr


LOOK = "import json, os; print(json.dumps([open('/proc/self/status').read(), sorted(os.listdir('/run/sockets/0'))]))"


def test_AN16_AN17_the_way_out_is_as_hardened_as_a_sandbox_and_serves_nobody_else(outside, real) -> None:
    with outside.running(outside.python("result = get('api.example.com')")) as process:
        eventually(lambda: outside.internet.arrivals, "the control: the skill itself is served")
        (container,) = egress_containers(real, process.pid)
        state = real.inspect(container)
        host = state["HostConfig"]
        assert (host["ReadonlyRootfs"], host["Privileged"], host["PidsLimit"]) == (True, False, 1024)
        assert host["Memory"] == host["MemorySwap"] == 512 * 1024**2
        assert not host.get("PortBindings")
        assert not state["NetworkSettings"].get("Ports")
        assert sorted(mount["Destination"] for mount in state["Mounts"] if mount["Type"] == "volume") == [
            "/run/sockets/0"
        ]
        status, sockets = json.loads(inside(real, container, "python3", "-c", LOOK))
        facts = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
        assert (int(facts["CapBnd"], 16), facts["NoNewPrivs"], facts["Seccomp"]) == (0, "1", "2")
        assert "0" not in facts["Uid"].split()
        assert sockets == ["gate.sock"]
        for shell in ("sh", "bash", "perl", "apt-get"):
            with pytest.raises(subprocess.CalledProcessError):
                inside(real, container, shell, "-c", "true")
        for other in set(real.containers(process.pid)) - {container}:
            labels = real.inspect(other)["Config"]["Labels"]
            seen = inside(real, other, "python3", "-c", "import os; print(os.path.exists('/run/egress/gate.sock'))")
            assert seen.strip() == str(labels[SKILL] == "probe"), "no other sandbox has the socket"
        assert served_as_root(real, *volumes_of(real, process.pid)) == b"", "nor is the host's root served"
    log = outside.project.perstack("log", "--network").stdout
    assert "user 0 may not use this socket" in log


def inside(real, container: str, *words: str) -> str:
    """What a command says; a busy Podman sometimes loses the words of one that ends at once, so it is asked again."""
    env = {**os.environ, **real.env}
    command = [real.name, "exec", container, *words]
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=env)
        if done.stdout:
            break
    return done.stdout


def served_as_root(real, volume: str) -> bytes:
    """What the gate answers to a client with the socket and another user."""
    place = call(real.address, "GET", f"/volumes/{volume}")["Mountpoint"]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(f"{place}/gate.sock")
        try:
            client.sendall(b"CONNECT api.example.com:443 HTTP/1.1\r\n\r\n")
            return client.recv(100)
        except ConnectionError:
            return b""


def test_C8_with_a_parent_proxy_that_resolves_names_private_addresses_are_not_claimed(outside) -> None:
    password = "a-password-of-the-parent"
    network = outside.settings_now["network"]
    outside.settings(network=network, parentProxy=f"http://me:{password}@{PUBLIC}:3128")
    parent = outside.internet.serve(PUBLIC, 3128, tls=False)
    refused = outside.run(outside.python("result = 1"))
    assert refused.exit_code == 5
    assert "private-addresses" in refused.stderr
    relaxed = outside.run(
        outside.python("result = denied('api.example.com')"), options=("--relax", "private-addresses")
    )
    assert relaxed.exit_code == 0, relaxed.stderr
    assert parent is not None
    asked = [one for one in outside.internet.arrivals if one.port == 3128]
    assert any(one.requests == ["CONNECT api.example.com:443"] for one in asked), "everything leaves through it"
    assert outside.internet.asked() == set(), "and nobody here looks the name up"
    kept = b"".join(path.read_bytes() for path in outside.project.state.rglob("*") if path.is_file())
    assert password not in relaxed.stdout + relaxed.stderr + kept.decode("utf-8", "replace")


def test_AN11_a_tool_that_would_search_from_the_vendors_network_is_off_until_the_user_allows_it(outside) -> None:
    table = 'model = "m"\n[provider]\nproviderName = "anthropic"\n'
    expert = '[experts.box]\ninstruction = "Try."\nproviderTools = ["webSearch"]\n'
    outside.project.write(expert, provider=table)

    def offered() -> list[str]:
        with ModelServer([Turn(text="done")]) as server:
            result = outside.project.perstack(*outside.args(), server=server, env=outside.all_env, timeout=300)
        assert result.exit_code == 0, result.stderr
        return [str(tool.get("type", "")) for tool in server.requests[0].body["tools"]]

    assert not [kind for kind in offered() if kind.startswith("web_search")]
    outside.user_settings("[policy]\nallowProviderTools = true\n")
    assert [kind for kind in offered() if kind.startswith("web_search")], "the control"
