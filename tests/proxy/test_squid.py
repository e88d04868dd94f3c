"""Squid's file: one line for each checked value, whatever the values are, and a log that nobody else writes."""

from __future__ import annotations

import contextlib
import json
import subprocess
from ipaddress import ip_address

import pytest
from gates import squid_program
from hypothesis import given
from hypothesis import strategies as st
from perstack_proxy.addresses import special_purpose
from perstack_proxy.control import ControlError, Listener, Policy, read_policy
from perstack_proxy.patterns import DomainPattern, PatternError, parse
from perstack_proxy.rules import Rule, SkillRules
from perstack_proxy.squid import SquidLine, read_log, special_addresses, squid_config


def listener(*patterns: str) -> Listener:
    return Listener(SkillRules(name="n", rules=tuple(Rule(parse(text)) for text in patterns)), "/tmp/n.sock")


def lines_of(*listeners: Listener) -> list[str]:
    return squid_config(Policy(listeners)).splitlines()


def test_each_skill_has_a_port_and_its_own_names():
    lines = lines_of(listener("a.example.com", "*.example.net"), listener())
    assert "http_port 127.0.0.1:3201 name=skill0" in lines
    assert "acl exact0 dstdomain -n a.example.com" in lines
    assert r"acl below0 dstdom_regex -n -i ^([a-z0-9-]+\.)+example\.net$" in lines
    assert "http_access deny from0 !exact0 !below0" in lines
    assert "http_access deny from1" in lines


def test_the_method_comes_before_the_port_the_port_before_the_name_and_the_name_before_the_address():
    rules = [line for line in lines_of(listener("a.example.com")) if line.startswith("http_access")]
    assert rules == [
        "http_access deny !CONNECT",
        "http_access deny !https",
        "http_access deny from0 !exact0",
        "http_access deny special",
        "http_access allow from0",
        "http_access deny all",
    ]


hostile = st.text(max_size=40) | st.sampled_from(
    [
        "a.example.com\nhttp_access allow all",
        "a.example.com http_access",
        "a.example.com\r\nacl x",
        '"/etc/passwd"',
        "#",
        "%{config}",
        "${x}.example.com",
        "-n",
        "a.example.com\\",
        "a.example.com\x00",
        "*.exa(mple.com",
        "*.ex|.com",
    ]
)


@given(st.lists(hostile, max_size=4))
def test_hostile_domains_cannot_change_another_line(domains):
    accepted = []
    for domain in domains:
        with contextlib.suppress(PatternError):
            accepted.append(str(parse(domain, punycode=True)))
    ours = [line for line in lines_of(listener(*accepted)) if not line.startswith(("acl exact0 ", "acl below0 "))]
    plain = [line for line in lines_of(listener()) if "from0" not in line]
    assert [line for line in ours if "from0" not in line] == plain
    assert [line for line in ours if line.startswith("http_access allow")] == ["http_access allow from0"]


@given(hostile)
def test_a_policy_with_a_hostile_domain_is_refused_or_becomes_one_entry(domain):
    skill = {"name": "n", "socket": "/tmp/n", "rules": [{"pattern": domain}]}
    line = json.dumps({"type": "policy", "version": 1, "skills": [skill]}).encode()
    with contextlib.suppress(ControlError):
        entries = [
            line for line in lines_of(*read_policy(line).listeners) if line.startswith(("acl exact0", "acl below0"))
        ]
        assert len(entries) == 1


def test_a_pattern_that_was_not_parsed_is_refused_when_the_file_is_made():
    skill = SkillRules(name="n", rules=(Rule(DomainPattern("a.example.com\nhttp_access allow all")),))
    with pytest.raises(PatternError):
        squid_config(Policy((Listener(skill, "/tmp/n.sock"),)))


@given(st.ip_addresses())
def test_Squids_table_denies_what_ours_denies(address):
    found = ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    if mapped is None:
        assert (special_purpose(found) is not None) == any(found in network for network in special_addresses())


def test_no_network_of_the_table_is_inside_another_because_Squid_would_drop_the_wider_one():
    networks = list(special_addresses())
    for network in networks:
        others = [other for other in networks if other is not network and other.version == network.version]
        assert not any(network.overlaps(other) for other in others)


def test_Squid_reads_the_file_without_a_warning(tmp_path):
    file = tmp_path / "squid.conf"
    file.write_text(squid_config(Policy((listener("a.example.com", "*.example.net", "*.example.org"), listener()))))
    done = subprocess.run(
        [squid_program(), "-k", "parse", "-f", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "WARNING" in line or "ERROR" in line] == []


def test_AO7_a_line_of_the_log_is_read_whole_or_not_at_all():
    found = read_log("40123 200 93.184.216.34 443 2241 7 TCP_TUNNEL\n")
    assert found == SquidLine("squid:40123", 200, "93.184.216.34", 2241, 7, "TCP_TUNNEL")
    assert read_log("40123 403 - - 3470 0 TCP_DENIED") == SquidLine("squid:40123", 403, "", 3470, 0, "TCP_DENIED")
    for text in (
        "",
        "40123 200 evil.example.org 443 1 1 TCP_TUNNEL",
        "40123 200 93.184.216.34 443 2241 7 TCP_TUNNEL more",
        "40123 200 93.184.216.34 443 2241 7 \x1b[2J",
    ):
        assert read_log(text) is None
