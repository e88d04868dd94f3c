"""What goes into a tunnel: TLS to the server that was asked for, and nothing else."""

from __future__ import annotations

import socket
import ssl

import pytest
from gates import get, read_to_end, tunnel
from hellos import extension, hello, names, real_hello, records
from hypothesis import given, settings
from hypothesis import strategies as st

API = "api.example.com"
NAMED = names(API.encode())
WRONG = {
    "another name": (real_hello("evil.example.org"), "other-server-name"),
    "a name below": (real_hello("x.api.example.com"), "other-server-name"),
    "the wildcard's apex": (real_hello("example.com"), "other-server-name"),
    "another allowed name": (real_hello("moving.example.com"), "other-server-name"),
    "no name": (real_hello(None), "no-server-name"),
    "two names": (hello(names(API.encode(), b"evil.example.org")), "no-server-name"),
    "an encrypted hello": (hello(NAMED + extension(0xFE0D, bytes(80))), "hidden-server-name"),
    "an encrypted name": (hello(NAMED + extension(0xFFCE, bytes(80))), "hidden-server-name"),
    "a cut wrong name": (records(real_hello("evil.example.org")[5:], 7), "other-server-name"),
    "plain HTTP": (b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n", "not-tls"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2p1\r\n", "not-tls"),
    "SMTP": (b"EHLO api.example.com\r\n", "not-tls"),
    "an own protocol": (bytes(range(200)), "not-tls"),
    "application data first": (b"\x17\x03\x03\x00\x10" + bytes(16), "not-tls"),
    "SSL 2": (b"\x80\x2e\x01\x00\x02" + bytes(44), "not-tls"),
}


@pytest.mark.parametrize("what", WRONG)
def test_AN2_N6_AN12_a_tunnel_that_begins_with_anything_else_carries_no_byte(egress, what):
    data, code = WRONG[what]
    with tunnel(egress.socket(), f"{API}:443") as client:
        client.sendall(data)
        answer = read_to_end(client)
    assert answer[:5] == b"\x15\x03\x03\x00\x02", "the answer is a TLS alert"
    deny = egress.gate.wait(lambda line: line["event"] == "deny")
    close = egress.gate.wait(lambda line: line["event"] == "close")
    assert (deny["verdict"], close["reason"], close["bytesUp"]) == (code, code, 0)
    assert deny["opened"] == close["opened"] == egress.gate.of("open")[0]["seq"]
    assert [arrival.data for arrival in egress.internet.arrivals if arrival.data or arrival.server_name] == []
    assert egress.works()


def test_AN2_and_bypass_2_a_real_client_with_another_server_name_fails(egress):
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        get(egress.socket(), API, egress.internet.authority, name="evil.example.org")
    assert {arrival.server_name for arrival in egress.internet.arrivals} <= {""}
    assert egress.works()


@pytest.mark.parametrize("size", [1, 2, 5, 64, 500])
def test_AN2_an_honest_hello_passes_however_it_is_cut(egress, size):
    data = records(real_hello(API)[5:], size)
    with tunnel(egress.socket(), f"{API}:443") as client:
        for at in range(0, len(data), 251):
            client.sendall(data[at : at + 251])
        assert client.recv(3)[:2] == b"\x16\x03", "the server answers with a handshake"
    assert [arrival.server_name for arrival in egress.internet.arrivals] == [API]


def test_AN2_a_hello_that_comes_with_the_request_is_read_like_any_other(egress):
    for name, answer in ((API, b"\x16\x03"), ("evil.example.org", b"\x15\x03")):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(egress.socket())
            client.sendall(f"CONNECT {API}:443 HTTP/1.1\r\n\r\n".encode() + real_hello(name))
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            assert client.recv(2) == answer


def test_bypass_3_tls_straight_to_the_socket_is_refused_at_its_first_byte(egress):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(egress.socket())
        client.sendall(real_hello(API))
        assert client.recv(12) == b"HTTP/1.1 400"
    assert egress.untouched(API)
    assert egress.works()


@settings(max_examples=40)
@given(st.binary(min_size=1, max_size=200))
def test_AN12_no_random_beginning_reaches_the_server(running, data):
    if data.startswith(b"\x16"):
        data = b"\x17" + data
    before = len(running.internet.arrivals)
    with tunnel(running.socket(), f"{API}:443") as client:
        client.sendall(data)
        assert read_to_end(client)[:1] == b"\x15"
    assert [arrival.data for arrival in running.internet.arrivals[before:] if arrival.data] == []


AGAIN, AGAIN_AT = "again.wild.example.com", "93.184.216.77"


def test_AN2_a_second_hello_that_the_server_asks_for_is_read_like_the_first(egress):
    egress.internet.name(AGAIN, [AGAIN_AT])
    egress.internet.serve(AGAIN_AT, curve="secp384r1")
    assert egress.works(AGAIN), "a real client is asked again, and answers"

    with tunnel(egress.socket(), f"{AGAIN}:443") as client:
        client.sendall(real_hello(AGAIN))
        assert client.recv(65536)[5] == 2, "the server asks again"
        client.sendall(b"\x14\x03\x03\x00\x01\x01" + real_hello("evil.example.org"))
        assert b"\x15\x03\x03\x00\x02\x02\x70" in read_to_end(client)
    deny = egress.gate.wait(lambda line: line["event"] == "deny")
    assert deny["verdict"] == "other-server-name"
    assert {arrival.server_name for arrival in egress.internet.arrivals} == {AGAIN}
