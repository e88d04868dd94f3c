"""The ClientHello reader: whole however it is cut, and refused when it names no server in the clear."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import pytest
from hellos import extension, hello, message, names, real_hello, records, vector
from hypothesis import given
from hypothesis import strategies as st
from perstack_proxy.clienthello import (
    ASKS_AGAIN,
    CHANGE_CIPHER_SPEC,
    Hello,
    HelloError,
    HelloReader,
    alert,
    asks_again,
)

HOST = "api.example.com"
REAL = real_hello(HOST)
NAMED = names(HOST.encode())


def read(data: bytes) -> Hello | None:
    return HelloReader().feed(data)


def refused(data: bytes) -> str:
    assert read(REAL) == Hello(HOST), "the control is read"
    with pytest.raises(HelloError) as caught:
        read(data)
    return caught.value.code


def test_the_hello_of_a_real_client_names_its_server():
    assert read(REAL) == Hello(HOST)
    assert read(real_hello("API.Example.COM")) == Hello(HOST)
    assert read(hello(names(b"api.example.com."))) == Hello(HOST)


@given(st.lists(st.integers(1, len(REAL)), max_size=20), st.integers(1, 600))
def test_AN2_a_hello_is_read_however_it_is_cut_into_segments_and_records(cuts, size):
    data = records(REAL[5:], size)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    reader = HelloReader()
    found = [reader.feed(data[start:end]) for start, end in pairwise(places)]
    assert found[-1] == Hello(HOST)
    assert set(found[:-1]) <= {None}
    assert bytes(reader.data) == data


def test_AN2_one_byte_at_a_time_is_enough():
    reader = HelloReader()
    found = [reader.feed(bytes((byte,))) for byte in records(REAL[5:], 1)]
    assert found[-1] == Hello(HOST)


def test_bytes_of_a_following_record_are_kept_and_not_read():
    reader = HelloReader()
    assert reader.feed(REAL + b"\x14\x03\x03\x00\x01\x01") == Hello(HOST)
    assert reader.data.endswith(b"\x01\x01")


@pytest.mark.parametrize(
    ("extensions", "code"),
    [
        (b"", "no-server-name"),
        (extension(10, b"\0\x02\0\x1d"), "no-server-name"),
        (NAMED + extension(0xFE0D, b"\0"), "hidden-server-name"),
        (NAMED + extension(0xFFCE, b"\0"), "hidden-server-name"),
        (NAMED + extension(0xFD00, b"\0"), "hidden-server-name"),
        (NAMED + names(b"evil.net"), "not-tls"),
        (names(b"api.example.com", b"evil.net"), "no-server-name"),
        (names(b"api.example.com", kind=1), "no-server-name"),
        (names(b""), "no-server-name"),
        (names(b"api.example.com\0.evil.net"), "no-server-name"),
        (names(b"8.8.8.8"), "no-server-name"),
        (names("bücher.example".encode()), "no-server-name"),
        (extension(0, vector(2, b"") + b"x"), "not-tls"),
        (extension(0, names(b"api.example.com")[4:] + b"\0"), "no-server-name"),
    ],
)
def test_AN2_a_hello_without_exactly_one_readable_name_is_refused(extensions, code):
    assert refused(hello(extensions)) == code


def test_AN2_the_real_client_without_a_name_is_refused():
    assert refused(real_hello(None)) == "no-server-name"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x80\x2e\x01\x03\x01",
        b"\x16\x02\x00",
        b"\x16\x03\x05",
        b"\x17\x03\x03\x00\x05hello",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        records(message(NAMED) + b"\0"),
        records(message(NAMED, version=0x0203)),
        records(message(NAMED, session=bytes(33))),
        records(message(NAMED, suites=b"")),
        records(message(NAMED, suites=b"\x13")),
        records(b"\x01\0\0\x02\x03\x03"),
    ],
)
def test_AN12_what_does_not_begin_as_tls_is_refused(data):
    assert refused(data) == "not-tls"


def test_a_hello_without_an_end_stops_at_the_limit():
    assert read(records(b"\x01\x00\x40\x00" + bytes(2**14 - 1))) is None
    assert refused(records(b"\x01\x00\x40\x01" + bytes(10))) == "not-tls"
    assert refused(records(b"\x01\x00\x40\x00" + bytes(6000), 1)) == "not-tls"


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda tail: REAL[:80] + tail))
def test_any_bytes_are_a_hello_a_refusal_or_unfinished(data):
    with contextlib.suppress(HelloError):
        read(data)


@given(st.integers(0, len(REAL) - 1), st.integers(0, 255))
def test_a_name_is_only_ever_read_from_the_name_extension(position, value):
    changed = REAL[:position] + bytes((value,)) + REAL[position + 1 :]
    start = REAL.index(HOST.encode())
    with contextlib.suppress(HelloError):
        found = read(changed)
        inside = start <= position < start + len(HOST)
        assert found is None or found.server_name == HOST or inside


def test_an_alert_is_one_fatal_record():
    assert alert(112) == bytes.fromhex("15030300020270")


ANSWER = b"\x16\x03\x03\x00\x5a\x02\x00\x00\x56\x03\x03"


def test_AN2_a_server_that_asks_again_is_recognised_and_any_other_answer_is_not():
    again, plain = ANSWER + ASKS_AGAIN + bytes(50), ANSWER + bytes(82)
    assert asks_again(again)
    assert asks_again(plain) is False
    assert asks_again(b"\x15\x03\x03\x00\x02\x02\x28") is False
    assert {asks_again(again[:end]) for end in range(43)} == {None}
    with pytest.raises(HelloError):
        asks_again(b"\x16\x03\x03\x00\x10\x02\x00\x00\x56\x03\x03" + ASKS_AGAIN)


def test_AN2_a_second_hello_may_follow_a_change_of_cipher_and_a_first_one_may_not():
    data = CHANGE_CIPHER_SPEC + REAL
    for size in (1, 3, 6, 1000):
        reader = HelloReader(again=True)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [reader.feed(piece) for piece in pieces][-1] == Hello(HOST)
        assert bytes(reader.data) == data
    assert HelloReader(again=True).feed(REAL) == Hello(HOST)
    assert refused(data) == "not-tls"
