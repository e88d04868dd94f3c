"""Nothing is unlimited: bytes, time, connections, requests and names of each skill."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from gates import GateProcess, SkillEntry, connect, dial, gate, get, read_to_end, secure, tunnel
from perstack.testing.waiting import eventually

API = "api.example.com"
KIB = 1024


@pytest.fixture
def limited(internet) -> Iterator[GateProcess]:
    internet.forget()
    skills = [
        SkillEntry(name="bytes", domains=[API], budgets={"host": {"bytes_up": 64 * KIB}}),
        SkillEntry(name="down", domains=[API], budgets={"skill": {"bytes_down": 64 * KIB}}),
        SkillEntry(name="few", domains=[API], budgets={"skill": {"connections": 2}}),
        SkillEntry(name="few-per-host", domains=[API, "moving.example.com"], budgets={"host": {"connections": 1}}),
        SkillEntry(name="rare", domains=[API], budgets={"skill": {"requests_per_minute": 3}}),
        SkillEntry(name="idle", domains=[API], budgets={"idle_seconds": 0.2}),
        SkillEntry(name="short", domains=[API], budgets={"tunnel_seconds": 0.2}),
        SkillEntry(name="names", domains=["*.wild.example.com"], budgets={"wildcard_names": 5}),
        SkillEntry(name="free", domains=[API]),
    ]
    with gate(internet, *skills) as started:
        yield started


def test_AN12_an_upload_stops_at_its_quota(internet, limited):
    def upload(skill: str) -> int:
        internet.forget()
        with (
            contextlib.suppress(OSError),
            secure(tunnel(limited.socket(skill), f"{API}:443"), internet.authority, API) as client,
        ):
            client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n")
            for _ in range(100):
                client.sendall(bytes(10_000))
            client.recv(1000)
        return internet.arrivals[0].count

    assert upload("free") == 1_000_000
    assert upload("bytes") < 64 * KIB
    close = limited.wait(lambda line: line["event"] == "close" and line["skill"] == "bytes")
    assert close["reason"] == "bytes"
    assert close["bytesUp"] == 64 * KIB
    assert connect(limited.socket("bytes"), f"{API}:443").body["code"] == "bytes"


def test_AN12_a_download_stops_at_its_quota(internet, limited):
    internet.pages["/large"] = ("application/octet-stream", bytes(1_000_000))
    assert len(get(limited.socket("free"), API, internet.authority, page="/large")) == 1_000_000
    assert len(get(limited.socket("down"), API, internet.authority, page="/large")) < 64 * KIB
    close = limited.wait(lambda line: line["event"] == "close" and line["skill"] == "down")
    assert (close["reason"], close["bytesDown"]) == ("bytes", 64 * KIB)


def test_AN12_connections_at_once_are_bounded_from_before_their_first_byte(internet, limited):
    with dial(limited.socket("few")), dial(limited.socket("few")), dial(limited.socket("few")) as third:
        assert b"429 Too Many Requests" in read_to_end(third)
        assert get(limited.socket("free"), API, internet.authority) == b"hello", "another skill has its own"
    assert limited.wait(lambda line: line["event"] == "deny")["verdict"] == "connections"

    def again() -> bool:
        with contextlib.suppress(AssertionError, OSError):
            return get(limited.socket("few"), API, internet.authority) == b"hello"
        return False

    eventually(again, "what was closed counts no more")


def test_AN12_connections_to_one_host_are_bounded(internet, limited):
    internet.name("moving.example.com", ["93.184.216.34"])
    path = limited.socket("few-per-host")
    with tunnel(path, f"{API}:443"):
        assert connect(path, f"{API}:443").body["code"] == "connections"
        with tunnel(path, "moving.example.com:443"):
            pass


def test_AO4_a_flood_of_requests_is_refused_and_does_not_flood_the_record(internet, limited):
    path = limited.socket("rare")
    for _ in range(3):
        assert connect(path, "evil.example.org:443").status == 403
    for _ in range(200):
        assert connect(path, f"{API}:443").status == 429
    assert internet.arrivals == []
    assert len(limited.of("deny")) < 20
    assert get(limited.socket("free"), API, internet.authority) == b"hello"


def test_AN7_random_labels_below_a_wildcard_are_throttled_and_recorded(internet, limited):
    path = limited.socket("names")
    codes = []
    for number in range(200):
        with dial(path) as client:
            client.sendall(f"CONNECT data{number}.wild.example.com:443 HTTP/1.1\r\n\r\n".encode())
            codes.append(client.recv(12)[9:])
    assert codes == [b"200"] * 5 + [b"429"] * 195
    assert len(internet.asked()) == 5
    assert len([line for line in limited.wait_for("deny", 195) if line["verdict"] == "wildcard-names"]) == 195
    assert get(path, "data0.wild.example.com", internet.authority) == b"hello", "known names go on"


@pytest.mark.parametrize(("skill", "reason"), [("idle", "idle"), ("short", "too-long")])
def test_AN12_a_tunnel_ends_in_time(internet, limited, skill, reason):
    with secure(tunnel(limited.socket(skill), f"{API}:443"), internet.authority, API) as client:
        assert read_to_end(client) == b""
    assert limited.wait(lambda line: line["event"] == "close")["reason"] == reason
    with secure(tunnel(limited.socket("free"), f"{API}:443"), internet.authority, API) as client:
        client.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert read_to_end(client).endswith(b"hello")
