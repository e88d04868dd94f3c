"""The grammar of allowedDomains and what a pattern covers."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack_proxy.patterns import DomainPattern, PatternError, parse

labels = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).filter(
    lambda label: not label.startswith("xn--")
)
hosts = st.lists(labels, min_size=2, max_size=4).map(".".join)


def test_an_exact_pattern_covers_its_host_and_nothing_else():
    pattern = parse("api.example.com")
    assert pattern.matches("api.example.com")
    assert pattern.matches("API.Example.COM.")
    for host in ("example.com", "x.api.example.com", "api.example.com.evil.net", "apiXexample.com", "", "com"):
        assert not pattern.matches(host)


def test_a_wildcard_covers_everything_below_and_not_the_apex():
    pattern = parse("*.example.com")
    assert pattern.matches("a.example.com")
    assert pattern.matches("a.b.example.com")
    for host in ("example.com", "badexample.com", "example.com.evil.net", ".example.com.", "com"):
        assert not pattern.matches(host) or host == ".example.com."


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "empty"),
        ("*", "covers every host"),
        ("*.*.com", "wildcard inside"),
        ("a.*.com", "wildcard inside"),
        ("a*.com", "wildcard inside"),
        ("https://example.com", "scheme"),
        ("example.com:443", "port"),
        ("example.com/path", "path"),
        ("user@example.com", "user name"),
        ("127.0.0.1", "IP address"),
        ("2130706433", "IP address"),
        ("0x7f.1", "IP address"),
        ("127.1", "IP address"),
        ("[::1]", "IP address"),
        ("::1", "IP address"),
        ("*.0.0.1", "IP address"),
        ("com", "suffix"),
        ("localhost", "suffix"),
        ("co.uk", "suffix"),
        ("*.com", "anyone registers"),
        ("*.co.uk", "anyone registers"),
        ("xn--80ak6aa92e.com", "allowPunycode"),
        ("münchen.de", "not ASCII"),
        ("a..com", "label ''"),
        ("*.", "covers every host"),
        (".example.com", "label ''"),
        ("-a.com", "label '-a'"),
        ("a_b.com", "label 'a_b'"),
        ("a b.com", "label 'a b'"),
        ("example.com\n", "label"),
        ("a." * 130 + "com", "253"),
    ],
)
def test_AN13_Q7_what_is_no_pattern_is_refused_with_its_reason(pattern, reason):
    with pytest.raises(PatternError) as caught:
        parse(pattern)
    assert reason in caught.value.reason


def test_a_denial_may_cover_a_whole_registry():
    assert parse("*.com", registry=True) == DomainPattern("com", wildcard=True)
    for pattern in ("com", "co.uk", "*"):
        with pytest.raises(PatternError):
            parse(pattern, registry=True)


def test_punycode_is_accepted_when_opted_in_and_marked():
    assert parse("xn--mnchen-3ya.de", punycode=True).markers == ("punycode",)


@pytest.mark.parametrize(
    ("pattern", "markers"),
    [
        ("api.example.com", ()),
        ("github.io", ()),
        ("*.example.com", ("wildcard",)),
        ("*.github.io", ("wildcard", "shared-host")),
        ("*.eu.s3.amazonaws.com", ("wildcard", "shared-host")),
    ],
)
def test_Q7_wide_patterns_are_marked_for_review(pattern, markers):
    assert parse(pattern).markers == markers


@given(hosts, st.booleans())
def test_a_pattern_prints_as_it_is_parsed(host, wildcard):
    try:
        pattern = parse(f"*.{host}" if wildcard else host)
    except PatternError:
        return  # a public suffix
    assert pattern == DomainPattern(host, wildcard)
    assert parse(str(pattern).upper() + ".") == pattern


@given(hosts, labels)
def test_a_pattern_covers_what_its_form_says(host, label):
    exact, below = DomainPattern(host), DomainPattern(host, wildcard=True)
    assert exact.matches(host)
    assert not exact.matches(f"{label}.{host}")
    assert below.matches(f"{label}.{host}")
    assert not below.matches(host)
    assert not below.matches(f"{label}{host}")


@given(st.text(max_size=60))
def test_any_text_is_a_pattern_or_a_reason(text):
    with contextlib.suppress(PatternError):
        assert parse(text).host
