"""The gate reads what core writes, and core reads what the gate writes."""

from __future__ import annotations

import pytest
from perstack.events import Event
from perstack.sandbox.audit_trail import AuditTrail
from perstack.sandbox.egress import gate_policy
from perstack.skill_policy import EgressGrant, Origin, SkillPolicy
from perstack_proxy.audit import Audit
from perstack_proxy.control import read_policy
from perstack_proxy.relay import Ended
from perstack_proxy.rules import decide
from perstack_proxy.skill import Request, Skill

FILE = Origin(source="perstack.toml", line=7)


def policy(skill: str, *domains: str) -> SkillPolicy:
    grants = tuple(EgressGrant(pattern=domain, origin=FILE) for domain in domains)
    return SkillPolicy(expert="@o/writer", skill=skill, kind="mcpStdioSkill", origin=FILE, egress=grants)


def test_the_gate_decides_what_core_decided():
    policies = [policy("web", "api.example.com", "*.example.org"), policy("files")]
    (web,) = read_policy(gate_policy(policies, socket=lambda one: f"/run/{one.skill}.sock", uids={1000})).listeners
    assert (web.socket, web.uids) == ("/run/web.sock", frozenset({1000}))
    assert decide(web.rules, "api.example.com", 443).origin == "perstack.toml:7"
    denied = decide(web.rules, "evil.example.net", 443)
    assert not denied.allowed
    assert denied.change.startswith('[experts."@o/writer".skills.web]\n')


def test_a_run_without_domains_has_a_policy_without_sockets():
    assert read_policy(gate_policy([policy("files")], socket=lambda _: "/run/x")).listeners == ()


def test_a_parent_proxy_reaches_the_gate_in_the_policy_and_nowhere_else():
    line = gate_policy([policy("web", "api.example.com")], socket=lambda _: "/run/w", parent="http://u:p@proxy:3128")
    parent = read_policy(line).parent
    assert (parent.host, parent.port, parent.user, parent.password) == ("proxy", 3128, "u", "p")
    assert read_policy(gate_policy([], socket=lambda _: "/run/w")).parent is None


def told(lines: list[bytes], *policies: SkillPolicy) -> tuple[list[Event], list[str]]:
    """The events and the problems that a trail makes of these lines."""
    events: list[Event] = []
    problems: list[str] = []
    trail = AuditTrail(policies, job_id="job", run_id="run", notify=events.append, problem=problems.append)
    for line in lines:
        trail.take(line)
    return events, problems


def test_Q9_every_decision_of_the_gate_and_the_end_of_every_tunnel_is_an_event():
    lines: list[bytes] = []
    web = policy("web", "api.example.com")
    (listener,) = read_policy(gate_policy([web], socket=lambda _: "/run/web.sock")).listeners
    audit = Audit(lines.append)
    skill = Skill(listener.rules, audit=audit, dialer=None)
    audit.line("ready", skills=[])
    allowed = Request("api.example.com", 443)
    opened = skill.record_open(allowed, skill.admit(allowed), address="93.184.216.34", via="direct")
    skill.record_deny(Request("evil.example.net", 443), decide(listener.rules, "evil.example.net", 443))
    skill.record_close(allowed, Ended("closed", 10, 20), opened=opened, seconds=1.5)
    (access, denied, closed), problems = told(lines, web)
    assert (access.action, access.expert_key, access.skill_name) == ("allowed", "@o/writer", "web")
    assert (access.domain, access.port, access.address) == (*allowed, "93.184.216.34")
    assert (denied.action, denied.code, denied.sequence) == ("blocked", "host", 3)
    assert "not in allowedDomains" in denied.reason
    assert (closed.opened, closed.bytes_up, closed.bytes_down) == (access.sequence, 10, 20)
    assert problems == []
    _, problems = told([lines[0], *lines[2:]], web)
    assert problems == ["the egress record has a gap: 3 came after 1"]


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b"no", b'{"event":"open"}', b'{"event":"deny","seq":"x"}', b'{"event":"open","seq":1}']
)
def test_AO7_a_line_that_is_not_the_gates_is_told_and_is_no_event(line):
    events, problems = told([line], policy("web", "api.example.com"))
    assert events == []
    assert problems
