"""Verdicts: the name first, the port then, and a change that would allow what was denied."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st
from perstack_proxy.patterns import parse
from perstack_proxy.rules import Rule, SkillRules, decide


def skill(*patterns: str, off: tuple[str, ...] = (), expert: str = "e", name: str = "s") -> SkillRules:
    rules = [Rule(parse(text), f"perstack.toml:{at}") for at, text in enumerate(patterns, 1)]
    rules += [Rule(parse(text), "perstack.toml:9", active=False) for text in off]
    return SkillRules(name="n", rules=tuple(rules), expert=expert, skill=name)


def test_an_allowed_host_names_its_rule_and_where_that_stands():
    verdict = decide(skill("a.example.com", "*.example.com"), "a.example.com", 443)
    assert verdict == ("allowed", "", "a.example.com", "perstack.toml:1", None)
    assert decide(skill("*.example.com"), "b.example.com", 443).rule == "*.example.com"


def test_no_rules_allow_nothing():
    assert decide(skill("a.example.com"), "a.example.com", 443).allowed
    assert not decide(skill(), "a.example.com", 443).allowed


def test_another_port_is_denied_after_the_name():
    rules = skill("a.example.com")
    assert decide(rules, "a.example.com", 443).allowed
    assert decide(rules, "a.example.com", 80).code == "port"
    assert decide(rules, "b.example.com", 80).code == "host"


def test_an_entry_that_is_off_allows_nothing_until_it_is_active():
    rules = skill("a.example.com", off=("b.example.com",))
    assert decide(rules, "b.example.com", 443).code == "grant"
    assert decide(rules, "b.example.com", 443, active={"b.example.com"}).allowed
    assert decide(rules, "a.example.com", 443, active=()).code == "grant"


def test_an_entry_that_is_off_takes_nothing_from_one_that_is_on():
    assert decide(skill("*.example.com", off=("a.example.com",)), "a.example.com", 443).rule == "*.example.com"


def test_AN7_a_wildcard_covers_names_of_limited_depth():
    rules = skill("*.example.com")
    assert decide(rules, "a.b.c.example.com", 443).allowed
    assert decide(rules, "a.b.c.d.example.com", 443).code == "wildcard-depth"
    exact = skill("*.example.com", "a.b.c.d.example.com")
    assert decide(exact, "a.b.c.d.example.com", 443).allowed


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_the_proposed_change_is_TOML_that_allows_the_host_and_nothing_else(expert, name):
    expert, name = (text.encode("utf-8", "replace").decode() for text in (expert, name))
    change = decide(skill("a.example.com", expert=expert, name=name), "new.example.org", 443).change
    table = tomllib.loads(change)
    assert table == {"experts": {expert: {"skills": {name: {"allowedDomains": ["a.example.com", "new.example.org"]}}}}}


def test_no_change_is_proposed_that_the_configuration_would_refuse():
    for host in ("localhost", "com", "xn--80ak6aa92e.com", "co.uk"):
        assert decide(skill("a.example.com"), host, 443).change is None
