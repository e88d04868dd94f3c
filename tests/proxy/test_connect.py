"""The one request that the gate reads, and everything near to it that it does not."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from perstack_proxy.connect import Connect, ConnectError, read_connect

GOOD = b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n"
LITERALS = """
    127.0.0.1:443 127.1:443 0x7f.1:443 2130706433:443 0:443 8.8.8.8:443 8.8.8.8.:443 017700000001:443 1.2.3.0x4:443
    [::1]:443 [::ffff:10.0.0.1]:443 ::1:443 [fe80::1%25eth0]:443
"""


def refused(data: bytes) -> str:
    assert read_connect(GOOD) == Connect("api.example.com", 443, len(GOOD)), "the control is read"
    with pytest.raises(ConnectError) as caught:
        read_connect(data)
    return caught.value.code


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        b"CONNECT API.Example.com.:443 HTTP/1.1\r\nhost: Api.example.com\r\nUser-Agent: x\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.0\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nContent-Length: 0\r\nProxy-Connection: keep-alive\r\n\r\n",
    ],
)
def test_the_spellings_of_real_clients_are_one_request(data):
    assert read_connect(data) == Connect("api.example.com", 443, len(data))
    assert read_connect(data + b"\x16\x03\x01") == Connect("api.example.com", 443, len(data))
    assert all(read_connect(data[:end]) is None for end in range(len(data)))


@pytest.mark.parametrize(
    "request_line",
    [
        "GET http://api.example.com/ HTTP/1.1",
        "GET / HTTP/1.1",
        "GET http://api.example.com/ HTTP/1.0",
        "POST http://api.example.com/ HTTP/1.1",
        "PUT http://api.example.com/ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "TRACE / HTTP/1.1",
        "connect api.example.com:443 HTTP/1.1",
        "Connect api.example.com:443 HTTP/1.1",
        "PRI * HTTP/2.0",
    ],
)
def test_N7_every_method_but_CONNECT_is_refused(request_line):
    assert refused(f"{request_line}\r\nHost: api.example.com\r\n\r\n".encode()) in {"method", "syntax"}


@pytest.mark.parametrize(
    "target",
    [
        "https://api.example.com:443",
        "https://api.example.com/",
        "//api.example.com:443",
        "user@api.example.com:443",
        "user:pass@api.example.com:443",
        "api.example.com",
        "api.example.com:",
        "api.example.com:0",
        "api.example.com:0443",
        "api.example.com:+443",
        "api.example.com:65536",
        "api.example.com:443:80",
        "api.example.com:443x",
        "api.example.com:https",
        "api.example.com:443/",
        "api.example.com:443#.evil.net",
        "api.example.com%00.evil.net:443",
        "api.example.com\\@evil.net:443",
        "api%2eexample.com:443",
        "api..example.com:443",
        ".api.example.com:443",
        "api.example.com..:443",
        "-api.example.com:443",
        "api_example.com:443",
        "*.example.com:443",
        ":443",
        "a" * 64 + ".example.com:443",
        "a." * 127 + "com:443",
    ],
)
def test_AN18_a_target_in_any_other_form_is_refused(target):
    assert refused(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode()) in {"target", "syntax"}


@pytest.mark.parametrize(
    "target",
    LITERALS.split(),
)
def test_AN1_an_address_is_no_host_in_any_of_its_spellings(target):
    assert refused(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode()) == "address-literal"


@pytest.mark.parametrize(
    "data",
    [
        b"CONNECT api.example.com:443 HTTP/1.1\nHost: api.example.com\n\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nA: b\nHost: api.example.com\r\n\r\n",
        b"CONNECT  api.example.com:443 HTTP/1.1\r\n\r\n",
        b"CONNECT\tapi.example.com:443 HTTP/1.1\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1 \r\n\r\n",
        b"CONNECT api.example.com:443\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nHost : api.example.com\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com\r\nHost: api.example.com\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: evil.net\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:80\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nno colon\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1\r\nA: \x00\r\n\r\n",
        b"CONNECT api.example.com\x00.evil.net:443 HTTP/1.1\r\n\r\n",
        b"CONNECT api.example.com\xe3\x80\x82evil.net:443 HTTP/1.1\r\n\r\n",
        b"\r\nCONNECT api.example.com:443 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\x05\x01\x00",
    ],
)
def test_AN18_what_two_parsers_could_read_differently_is_refused(data):
    assert refused(data) == "syntax"


def test_AN18_other_versions_are_refused():
    for version in ("0.9", "1.2", "2.0", "3.0"):
        assert refused(f"CONNECT api.example.com:443 HTTP/{version}\r\n\r\n".encode()) == "syntax"


def test_a_request_without_an_end_stops_at_the_limit():
    assert refused(b"CONNECT api.example.com:443 HTTP/1.1\r\nA: " + b"b" * 8192) == "too-large"
    assert refused(b"CONNECT api.example.com:443 HTTP/1.1\r\n" + b"A: b\r\n" * 33 + b"\r\n") == "too-large"


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: GOOD[:30] + tail + GOOD[30:]))
@example(b"CONNECT a.b:443 HTTP/1.1\r\n\r\n")
def test_any_bytes_are_a_request_a_refusal_or_unfinished(data):
    with contextlib.suppress(ConnectError):
        found = read_connect(data)
        if found is not None:
            again = f"CONNECT {found.host}:{found.port} HTTP/1.1\r\n\r\n".encode()
            assert read_connect(again) == Connect(found.host, found.port, len(again)), "what was read has one spelling"


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_no_changed_byte_of_a_request_leads_to_another_host(position, value):
    changed = GOOD[:position] + bytes((value,)) + GOOD[position + 1 :]
    with contextlib.suppress(ConnectError):
        found = read_connect(changed)
        assert found is None or found.host == "api.example.com"
