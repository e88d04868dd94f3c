"""The parent proxy of a network: a URL of one form, whose values cannot become anything else."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack_proxy.control import ControlError, Policy, read_policy
from perstack_proxy.parent import Parent, ParentError, parse_parent, status_of
from perstack_proxy.squid import squid_config


def test_a_parent_is_a_host_a_port_and_perhaps_a_user():
    assert parse_parent("http://proxy.example.com:3128") == Parent("proxy.example.com", 3128)
    assert parse_parent("http://Proxy:8080/") == Parent("proxy", 8080)
    assert parse_parent("http://10.0.0.1") == Parent("10.0.0.1", 80)
    parent = parse_parent("http://a%20b:c%3A%25d@proxy:3128")
    assert (parent.user, parent.password) == ("a b", "c:%d")
    assert parent.login == "a%20b:c%3A%25d"
    assert parent.authorization == b"Proxy-Authorization: Basic YSBiOmM6JWQ=\r\n"


@pytest.mark.parametrize(
    "url",
    [
        "https://proxy:3128",
        "socks5://proxy:1080",
        "proxy:3128",
        "http://",
        "http://:3128",
        "http://proxy:0",
        "http://proxy:70000",
        "http://proxy:port",
        "http://proxy:3128/path",
        "http://proxy:3128?x=1",
        "http://proxy:3128#x",
        "http://pro xy:3128",
        "http://proxy\n:3128",
        "http://proxy%0a:3128",
        "http://[::1]:3128",
        "http://127.1:3128",
        "http://1.2.3.999:3128",
        "http://-x:3128",
        "http://proxy,evil:3128",
        "http://canary%0d%0aX: y:p@proxy:3128",
        "http://canary:p%00@proxy:3128",
        "http://canary:p%0a@proxy:3128",
        "http://can%3Aary:p@proxy:3128",
        "http://*:canary@proxy:3128",
        "http://NEGOTIATE:canary@proxy:3128",
        "http://PASSTHRU:canary@proxy:3128",
        "http://:canary@proxy:3128",
        "http://canary:" + "p" * 257 + "@proxy:3128",
    ],
)
def test_anything_else_is_refused_without_repeating_it(url):
    with pytest.raises(ParentError) as refused:
        parse_parent(url)
    assert "canary" not in str(refused.value)


def test_a_parent_does_not_show_its_password():
    parent = parse_parent("http://canary:canary2@proxy:3128")
    assert "canary" not in f"{parent} {parent!r} {Policy((), parent)}"


PLAIN = squid_config(Policy((), Parent("proxy", 3128))).splitlines()

RULES = ["http_access deny !CONNECT", "http_access deny !https", "http_access deny all"]


@given(st.text(max_size=40), st.text(max_size=40))
def test_AN18_hostile_users_and_passwords_change_one_word_of_one_line(user, password):
    from urllib.parse import quote

    with contextlib.suppress(ParentError):
        parent = parse_parent(f"http://{quote(user, safe='')}:{quote(password, safe='')}@proxy:3128")
        lines = squid_config(Policy((), parent)).splitlines()
        assert len(lines) == len(PLAIN)
        changed = [(one, other) for one, other in zip(lines, PLAIN, strict=True) if one != other]
        for one, other in changed:
            assert re.fullmatch(re.escape(other) + r" login=[A-Za-z0-9._~%-]+:[A-Za-z0-9._~%-]*", one)
        assert len(changed) == bool(user)


@given(st.text(max_size=60))
def test_AN18_a_hostile_url_is_refused_or_is_one_line(url):
    with contextlib.suppress(ParentError):
        lines = squid_config(Policy((), parse_parent(url))).splitlines()
        assert len(lines) == len(PLAIN)
        assert [line for line in lines if line.startswith("http_access")] == RULES


def test_with_a_parent_Squid_looks_nothing_up_and_without_one_it_goes_nowhere_but_directly():
    assert not any(line.startswith("acl special") for line in PLAIN)
    assert "never_direct allow all" in PLAIN
    direct = squid_config(Policy()).splitlines()
    assert "http_access deny special" in direct
    assert not any(line.startswith(("cache_peer", "never_direct")) for line in direct)


def test_a_policy_with_a_parent_that_is_none_is_refused():
    line = b'{"type":"policy","version":1,"skills":[],"parent":%s}'
    assert read_policy(line % b'"http://proxy:3128"').parent == Parent("proxy", 3128)
    for value in (b'"ftp://proxy"', b"null", b"[]", b'""'):
        with pytest.raises(ControlError):
            read_policy(line % value)


@pytest.mark.parametrize(
    ("head", "status"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", 200), (b"HTTP/1.0 407\r\n\r\n", 407), (b"SSH-2.0 200 x\r\n\r\n", 0), (b"", 0)],
)
def test_a_reply_is_HTTP_or_none(head, status):
    assert status_of(head) == status
