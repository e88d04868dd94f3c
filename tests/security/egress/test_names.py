"""Which names a skill reaches: exactly those of its list, over HTTPS, and no other name is even looked up."""

from __future__ import annotations

import time

import pytest
from gates import ask, connect, get

UNLISTED = [
    "evil.example.org",
    "example.com",
    "www.example.com",
    "xapi.example.com",
    "api.example.com.evil.example.org",
    "api.example.co",
    "a.api.example.com",
    "wild.example.com",
    "xwild.example.com",
    "api-example.com",
    "localhost",
    "host.docker.internal",
    "gateway.docker.internal",
    "metadata.google.internal",
]


def test_N2_and_bypasses_6_and_8_an_allowed_name_is_reached_and_no_other_one_is(egress):
    for host in UNLISTED:
        answer = connect(egress.socket(), f"{host}:443")
        assert (answer.status, answer.body["code"]) == (403, "host")
    assert egress.untouched()
    assert egress.internet.queries == []
    assert [line["host"] for line in egress.gate.wait_for("deny", len(UNLISTED))] == UNLISTED
    assert egress.works()


@pytest.mark.parametrize("spelling", ["API.example.com", "api.example.com.", "aPi.ExAmPlE.cOm."])
def test_N2_case_and_a_final_dot_make_no_other_name(egress, spelling):
    assert get(egress.socket(), spelling, egress.internet.authority, name="api.example.com") == b"hello"
    assert egress.internet.asked() <= {"api.example.com"}


def test_bypass_5_an_empty_list_allows_nothing(egress):
    assert connect(egress.socket("none"), "api.example.com:443").status == 403
    assert egress.untouched("api.example.com")
    assert egress.works()


def test_AN10_a_skill_does_not_have_the_list_of_another(egress):
    for skill, host in (("two", "api.example.com"), ("one", "api.example.net")):
        assert connect(egress.socket(skill), f"{host}:443").body["code"] == "host"
    assert egress.untouched("api.example.com", "api.example.net")
    assert egress.works("api.example.com", "one")
    assert egress.works("api.example.net", "two")
    assert [line["skill"] for line in egress.gate.wait_for("open", 2)] == ["one", "two"]


@pytest.mark.parametrize(
    "request_line",
    [
        "GET http://api.example.com/ HTTP/1.1",
        "GET http://api.example.com/ HTTP/1.0",
        "POST http://api.example.com/ HTTP/1.1",
        "PUT http://api.example.com/ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "TRACE http://api.example.com/ HTTP/1.1",
        "GET / HTTP/1.1",
        "connect api.example.com:443 HTTP/1.1",
        "CONNECT http://api.example.com:443/ HTTP/1.1",
    ],
)
def test_N5_and_N7_every_request_but_CONNECT_is_refused_before_anything_is_sent(egress, request_line):
    answer = ask(egress.socket(), f"{request_line}\r\nHost: api.example.com\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 "))
    assert egress.untouched("api.example.com")
    assert egress.works()


@pytest.mark.parametrize("port", [80, 22, 53, 8443, 4433, 1, 65535])
def test_N5_port_443_is_the_only_one(egress, port):
    assert connect(egress.socket(), f"api.example.com:{port}").body["code"] == "port"
    assert egress.untouched("api.example.com")
    assert egress.works()


@pytest.mark.parametrize(
    "target",
    ["93.184.216.34:443", "1572395042:443", "0x5db8d822:443", "[2606:2800:220:1::1]:443", "93.184.55330:443"],
)
def test_AN1_an_address_is_refused_although_its_owner_says_that_it_is_an_allowed_name(egress, target):
    egress.internet.pointer("93.184.216.34", "api.example.com")
    assert connect(egress.socket(), target).body["code"] == "address-literal"
    assert egress.untouched()
    assert egress.internet.queries == []
    assert egress.works()


def test_AN6_and_bypass_4_the_name_of_a_denied_host_carries_nothing_to_a_name_server(egress):
    for number in range(50):
        secret = f"{number:04x}deadbeef.evil.example.org"
        assert connect(egress.socket(), f"{secret}:443").status == 403
    assert egress.internet.queries == []
    assert egress.works()
    assert egress.internet.asked() <= {"api.example.com"}


def test_AN13_and_bypass_20_a_wildcard_covers_what_is_below_and_not_its_apex(egress):
    assert connect(egress.socket(), "wild.example.com:443").body["code"] == "host"
    assert egress.untouched("wild.example.com")
    assert egress.works("a.wild.example.com")


def test_AN7_labels_below_a_wildcard_have_a_depth(egress):
    answer = connect(egress.socket(), "a.b.c.d.wild.example.com:443")
    assert answer.body["code"] == "wildcard-depth"
    assert egress.untouched("a.b.c.d.wild.example.com")
    assert egress.works("a.wild.example.com")


@pytest.mark.parametrize(
    "data",
    [
        b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com\r\nHost: evil.example.org\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: evil.example.org:443\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        b"CONNECT user@api.example.com:443 HTTP/1.1\r\n\r\n",
        b"CONNECT api.example.com:443:80 HTTP/1.1\r\n\r\n",
        b"CONNECT api.example.com:443@evil.example.org:443 HTTP/1.1\r\n\r\n",
        b"CONNECT api.example.com%2eevil.example.org:443 HTTP/1.1\r\n\r\n",
        b"CONNECT api.example.com\0.evil.example.org:443 HTTP/1.1\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\nHost: api.example.com\n\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"CONNECT evil.example.org:443 HTTP/1.1\r\n\r\nCONNECT api.example.com:443 HTTP/1.1\r\n\r\n",
    ],
)
def test_AN18_and_bypass_1_what_parsers_could_read_differently_is_refused_and_the_connection_closed(egress, data):
    answer = ask(egress.socket(), data)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 "))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert egress.untouched("api.example.com", "evil.example.org")
    assert egress.works()


def test_bypass_11_a_denial_is_an_answer_within_a_second_and_not_a_hang(egress):
    took = []
    for _ in range(5):
        started = time.monotonic()
        assert connect(egress.socket(), "evil.example.org:443").status == 403
        took.append(time.monotonic() - started)
    assert min(took) < 1, "a busy machine may be slow once"
    assert egress.works()


def test_a_denial_says_what_why_which_rule_and_the_change_that_would_allow_it(egress):
    unlisted = connect(egress.socket(), "new.example.org:443").body
    assert unlisted["what"] == "CONNECT new.example.org:443"
    assert "'new.example.org' is not in allowedDomains" in str(unlisted["why"])
    assert unlisted["change"] == (
        "[experts.tester.skills.one]\n"
        'allowedDomains = ["api.example.com", "moving.example.com", "*.wild.example.com", "new.example.org"]\n'
    )
    port = connect(egress.socket(), "api.example.com:80").body
    assert (port["rule"], port["origin"], port["change"]) == ("api.example.com", "perstack.toml:10", None)
    assert connect(egress.socket(), "localhost:443").body["change"] is None
    assert egress.works()
