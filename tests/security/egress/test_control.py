"""The channels of the gate: a policy that nothing widens, a record that nothing bypasses, an end that ends it all."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess

import pytest
from gates import PROXY, SkillEntry, connect, gate, get, policy_line, read_to_end, secure, tunnel
from perstack.testing.waiting import eventually

API = "api.example.com"
OTHER = "moving.example.com"


@pytest.fixture
def granting(internet):
    internet.forget()
    internet.name(OTHER, ["93.184.216.34"])
    with gate(internet, SkillEntry(name="one", domains=[API], off=[OTHER]), SkillEntry(name="two")) as started:
        yield started


def test_bypass_17_a_grant_for_one_call_opens_an_existing_entry_and_its_end_closes_the_tunnel(internet, granting):
    path = granting.socket("one")
    denied = connect(path, f"{OTHER}:443").body
    assert (denied["code"], denied["origin"]) == ("grant", "perstack.toml:11")
    assert internet.asked() == set()
    granting.grant("one", OTHER, active=True, call="call-7")
    with secure(tunnel(path, f"{OTHER}:443"), internet.authority, OTHER) as client:
        assert granting.wait(lambda line: line["event"] == "open")["call"] == "call-7"
        granting.grant("one", OTHER, active=False)
        assert read_to_end(client) == b""
    assert granting.wait(lambda line: line["event"] == "close")["reason"] == "grant"
    assert connect(path, f"{OTHER}:443").body["code"] == "grant"
    assert get(path, API, internet.authority) == b"hello", "other entries go on"


@pytest.mark.parametrize(
    "grant",
    [
        {"type": "grant", "skill": "one", "pattern": "evil.example.org", "active": True},
        {"type": "grant", "skill": "two", "pattern": API, "active": True},
        {"type": "grant", "skill": "three", "pattern": API, "active": True},
        {"type": "grant", "skill": "one", "pattern": OTHER, "active": 1},
        {"type": "grant", "skill": "one", "pattern": OTHER, "active": True, "more": 1},
        {"type": "policy", "version": 1, "skills": []},
        ["grant"],
    ],
)
def test_no_line_after_the_policy_adds_an_entry(internet, granting, grant):
    granting.tell_bytes(json.dumps(grant).encode() + b"\n")
    assert granting.wait(lambda line: line["event"] == "refused")["reason"]
    assert connect(granting.socket("one"), "evil.example.org:443").status == 403
    assert connect(granting.socket("two"), f"{API}:443").status == 403
    assert connect(granting.socket("one"), f"{OTHER}:443").status == 403
    assert get(granting.socket("one"), API, internet.authority) == b"hello"


@pytest.mark.parametrize("way", ["direct", "squid"])
def test_the_end_of_the_control_channel_closes_every_tunnel(internet, squid, way):
    with gate(internet, SkillEntry(name="one", domains=[API]), way=way) as running:
        with secure(tunnel(running.socket("one"), f"{API}:443"), internet.authority, API) as client:
            assert running.close() == 0
            assert read_to_end(client) == b""
        assert running.of("close")[0]["reason"] == "stopped"
        assert not os.path.exists(running.socket("one"))
    assert not _listens(internet, 3201)


def test_a_killed_gate_takes_its_squid_with_it(internet, squid):
    with gate(internet, SkillEntry(name="one", domains=[API]), way="squid") as running:
        assert _listens(internet, 3201)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait(10)
        eventually(lambda: not _listens(internet, 3201), "Squid has ended")


def test_AO5_nothing_is_opened_when_the_record_cannot_be_written(internet, tmp_path):
    internet.forget()
    command = internet.namespace.command(*PROXY, "gate")
    with gate(internet, SkillEntry(name="one", domains=[API])) as control:
        assert get(control.socket("one"), API, internet.authority) == b"hello"
    internet.forget()
    folder = control.folder
    folder.mkdir()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(policy_line([SkillEntry(name="one", domains=[API])], folder))
    process.stdin.flush()
    assert b'"ready"' in process.stdout.readline()
    process.stdout.close()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(folder / "one.sock"))
        client.sendall(f"CONNECT {API}:443 HTTP/1.1\r\n\r\n".encode())
        assert b" 200 " not in read_to_end(client)
    assert process.wait(10) is not None
    process.stdin.close()
    assert [arrival for arrival in internet.arrivals if arrival.data] == []


def test_AO5_the_record_has_no_gap_and_names_what_happened(internet, granting):
    get(granting.socket("one"), API, internet.authority)
    connect(granting.socket("one"), "evil.example.org:443")
    close = granting.wait(lambda line: line["event"] == "close")
    granting.wait(lambda line: line["event"] == "deny")
    assert [line["seq"] for line in granting.lines] == list(range(1, len(granting.lines) + 1))
    opened = granting.of("open")[0]
    assert {key: opened[key] for key in ("skill", "host", "port", "address", "verdict", "rule", "origin")} == {
        "skill": "one",
        "host": API,
        "port": 443,
        "address": "93.184.216.34",
        "verdict": "allowed",
        "rule": API,
        "origin": "perstack.toml:10",
    }
    assert close["opened"] == opened["seq"]
    assert close["bytesUp"] > 500
    assert close["bytesDown"] > 500
    assert close["seconds"] >= 0


@pytest.mark.parametrize(
    "data",
    [
        b'CONNECT x","event":"open:443 HTTP/1.1\r\n\r\n',
        b"CONNECT api.example.com:443 HTTP/1.1\r\nA: \x1b]0;owned\x07\r\n\r\n",
        b"\xff\xfe{}\n\r\n\r\n",
        b'{"event":"open","seq":1}\n',
        b"GET /%0a%7b%22event%22:%22open%22%7d HTTP/1.1\r\n\r\n",
    ],
)
def test_AO7_nothing_that_a_skill_sends_can_look_like_another_line(granting, data):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(granting.socket("one"))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        read_to_end(client)
    line = granting.wait(lambda line: line["event"] == "deny")
    assert (line["skill"], line["host"]) == ("one", "")
    assert granting.of("open") == []
    assert "\x1b" not in json.dumps(line, ensure_ascii=False)


def test_AN16_another_user_is_refused_by_what_the_kernel_says_of_him(internet):
    entries = [
        SkillEntry(name="open", domains=[API], uids=[0, 65534]),
        SkillEntry(name="mine", domains=[API], uids=[0]),
    ]
    script = (
        "import socket,sys;s=socket.socket(socket.AF_UNIX);s.settimeout(10);s.connect(sys.argv[1]);"
        "s.sendall(b'CONNECT evil.example.org:443 HTTP/1.1\\r\\n\\r\\n');print(s.recv(12))"
    )
    with gate(internet, *entries) as running:
        said = {}
        for skill in ("open", "mine"):
            command = ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", script]
            done = subprocess.run(
                [*command, running.socket(skill)], capture_output=True, text=True, timeout=20, check=False
            )
            said[skill] = done.stdout.strip()
        assert said["open"] == "b'HTTP/1.1 403'", "the control is answered"
        assert said["mine"] in ("b''", "")
        denied = running.wait(lambda line: line["event"] == "deny" and line["skill"] == "mine")
        assert (denied["verdict"], denied["host"]) == ("peer", "")


def test_AN16_no_other_user_may_connect_to_a_socket_of_the_default_policy(granting):
    assert os.stat(granting.socket("one")).st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "policy",
    [
        b"\n",
        b"{}\n",
        b'{"type":"policy","version":2,"skills":[]}\n',
        b'{"type":"policy","version":1,"skills":[{"name":"a","socket":"relative"}]}\n',
        b'{"type":"policy","version":1,"skills":[{"name":"a","socket":"/tmp/a","rules":[{"pattern":"*"}]}]}\n',
        b'{"type":"policy","version":1,"skills":[{"name":"a","socket":"/tmp/a","rules":[{"pattern":"10.0.0.1"}]}]}\n',
        b'{"type":"policy","version":1,"skills":[{"name":"a","socket":"/tmp/a","allow":"all"}]}\n',
        b'{"type":"policy","version":1,"skills":[{"name":"a","socket":"/tmp/a"},{"name":"a","socket":"/tmp/b"}]}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_policy_that_is_not_understood_starts_nothing(policy):
    done = subprocess.run([*PROXY, "gate"], input=policy, capture_output=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.startswith(b"perstack-proxy gate: ")
    assert b"Traceback" not in done.stderr


def _listens(internet, port: int) -> bool:
    try:
        internet.connect("127.0.0.1", port).close()
    except OSError:
        return False
    return True
