"""Which requests go through a proxy: what the variables mean to every other program, they mean here."""

from __future__ import annotations

import pytest
from perstack.errors import ConfigError
from perstack.outbound.bypass import proxy_of
from perstack.specs import Proxy

URL = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "bypass"),
    [
        ("https://api.example.com/v1", ()),
        ("https://api.example.com/v1", ("example.org", "pi.example.com", "10.0.0.0/8", "api.example.com:8443")),
        ("https://10.0.0.1/v1", ("11.0.0.0/8", "10.0.0.1.example")),
        ("https://notexample.com/", ("example.com", ".example.com")),
    ],
)
def test_other_hosts_are_reached_through_the_proxy(url: str, bypass: tuple[str, ...]) -> None:
    assert proxy_of(url, Proxy(url=URL, bypass=bypass)) == URL


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("https://api.example.com/v1", "*"),
        ("https://api.example.com/v1", "example.com"),
        ("https://api.example.com/v1", ".example.com"),
        ("https://api.example.com/v1", "*.example.com"),
        ("https://api.example.com/v1", "API.EXAMPLE.COM"),
        ("https://api.example.com/v1", "api.example.com:443"),
        ("https://api.example.com./v1", "api.example.com"),
        ("https://10.1.2.3/v1", "10.0.0.0/8"),
        ("https://10.1.2.3/v1", "10.1.2.3"),
        ("https://[fd00::1]/v1", "fd00::/8"),
        ("http://localhost:11434", "unrelated"),
        ("http://127.0.0.1:8000", "unrelated"),
    ],
)
def test_what_is_excepted_and_this_machine_are_reached_directly(url: str, entry: str) -> None:
    assert proxy_of(url, Proxy(url=URL, bypass=(entry,))) is None


@pytest.mark.parametrize(
    "url", ["garbage", "http://[", "http://", "socks5://h:1", "http://me:secret@h:99999", "http://h:0"]
)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable_where_it_is_needed_and_never_shown(url: str) -> None:
    proxy = Proxy(url=url, bypass=("near.example",), variable="PERSTACK_PROXY_URL")
    with pytest.raises(ConfigError, match="PERSTACK_PROXY_URL names no proxy") as caught:
        proxy_of("https://api.example.com/v1", proxy)
    assert "secret" not in str(caught.value)
    for direct in ("https://near.example/", "http://localhost:11434"):
        assert proxy_of(direct, proxy) is None, "the control: what needs no proxy is asked"


def test_a_proxys_password_is_a_secret_in_both_of_its_forms() -> None:
    proxy = Proxy(url="http://user:p%40ss-word@proxy.example:3128")
    assert proxy.secrets == ("p%40ss-word", "p@ss-word")
    assert "ss-word" not in repr(proxy)
