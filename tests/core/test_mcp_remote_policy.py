"""What a configuration may say of a skill on another machine, what of it is decided, and what a run records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from perstack.config.headers import filled, variables
from perstack.errors import ConfigError, PolicyError, SkillError
from perstack.events import ProxyAccess, SkillConnected, SkillDisconnected
from perstack.outbound.transport import INTERNET
from perstack.policy.decide import decide, secret_values
from perstack.policy.env import env_values
from perstack.policy.explain import as_json, as_text
from perstack.policy.review import review
from perstack.sandbox.lease import open_skills
from perstack.specs import EgressRule, EnvRule, RuntimeSpec, TransportSpec
from perstack.tools.remote.transport import RemoteTransport
from projects import EXPERT, load
from remote_server import HOST, HttpServer, reach
from skills import Events, lease_context

TABLE = """
[experts.writer.skills.tickets]
type = "mcpHttpSkill"
endpoint = "https://mcp.tickets.example/mcp"
"""
TOKEN = 'headers = { Authorization = "Bearer $TICKETS_TOKEN", "X-Team" = "blue" }\n'
RUNTIME = RuntimeSpec(name="local", summary="", factory=dict, claims=frozenset({"env"}))


class Registry:
    """No plugins but the rules that a test is about."""

    def __init__(self, env=(), egress=()) -> None:
        self.providers: dict[str, object] = {}
        self._env, self._egress = tuple(env), tuple(egress)

    def env_rules(self, target):
        return self._env

    def egress_rules(self, target):
        self.asked = target.requested
        return self._egress


def decided(directory, text, *, registry=None, environ=None):
    loaded = load(directory, EXPERT + TABLE + text, environ=environ or {"TICKETS_TOKEN": "canary-3fe1", "PATH": "/bin"})
    decision = decide(loaded, "writer", registry=registry or Registry(), runtime_spec=RUNTIME, workspace=directory)
    (policy,) = [policy for policy in decision.skills if policy.skill == "tickets"]
    return loaded, decision, policy


def test_W_41_a_remote_skill_gets_the_variables_of_its_headers_and_no_others(tmp_path) -> None:
    loaded, decision, policy = decided(tmp_path, TOKEN)
    assert env_values(policy, loaded.host_env) == {"TICKETS_TOKEN": "canary-3fe1"}
    assert secret_values(decision, loaded.host_env, {}) == {"TICKETS_TOKEN": "canary-3fe1"}
    shown = "\n".join(as_text(decision)) + json.dumps(as_json(decision))
    assert "Authorization: Bearer $TICKETS_TOKEN" in shown
    assert "canary-3fe1" not in shown
    codes = {finding.code.code: finding.message for finding in review(loaded, [decision.experts["writer"].expert])}
    assert codes["NET007"] == "sends TICKETS_TOKEN to https://mcp.tickets.example/mcp as Authorization"
    loaded, _, policy = decided(tmp_path, TOKEN, environ={"PATH": "/bin"})
    with pytest.raises(ConfigError, match="'tickets' needs the variable 'TICKETS_TOKEN'"):
        env_values(policy, loaded.host_env)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "PATH", "LD_PRELOAD"])
def test_AS10_a_provider_key_or_a_protected_name_is_sent_nowhere(tmp_path, name) -> None:
    with pytest.raises(PolicyError, match=name):
        decided(tmp_path, TOKEN.replace("TICKETS_TOKEN", name), environ={name: "canary-value"})
    decided(tmp_path, TOKEN)


def test_rules_of_plugins_hold_for_the_endpoint_and_for_what_is_sent_there(tmp_path) -> None:
    registry = Registry()
    decided(tmp_path, TOKEN, registry=registry)
    assert registry.asked == ("mcp.tickets.example",)
    deny = EgressRule(action="deny", pattern="*.tickets.example", reason="Not here.")
    with pytest.raises(PolicyError, match=r"denies the domain mcp\.tickets\.example"):
        decided(tmp_path, TOKEN, registry=Registry(egress=[("acme", deny)]))
    hide = EnvRule(action="deny", name="TICKETS_*", reason="Stays here.")
    with pytest.raises(PolicyError, match="denies the variable TICKETS_TOKEN"):
        decided(tmp_path, TOKEN, registry=Registry(env=[("acme", hide)]))


@pytest.mark.parametrize(
    "header",
    [
        '"Authorization" = "Bearer abc"',
        '"X-Api-Key" = "abc"',
        '"Cookie" = "a=b"',
        '"Host" = "other.example"',
        '"Mcp-Session-Id" = "1"',
        '"Content-Type" = "text/plain"',
        '"Proxy-Authorization" = "$T"',
        '"X-Forwarded-For" = "10.0.0.1"',
        '"A B" = "c"',
        '"X-Odd" = "naïve"',
        '"X-Odd" = "$"',
        '"X-Odd" = "$1"',
        '"X-Odd" = "${A"',
        '"X-Twice" = "a", "x-twice" = "b"',
    ],
)
def test_a_header_that_holds_a_secret_or_is_not_ours_to_set_is_refused(tmp_path, header) -> None:
    with pytest.raises(ConfigError, match="header"):
        decided(tmp_path, f"headers = {{ {header} }}\n")
    decided(tmp_path, 'headers = { "X-Fine" = "plain", Cookie = "s=${SESSION}" }\n')


def test_values_take_the_place_of_their_names() -> None:
    assert variables("$A-${B} $$C $A") == ("A", "B")
    assert filled("$A-${B} $$C $A", {"A": "1", "B": "2"}) == "1-2 $C 1"
    for value in ("a\nb", "ü", " a", "\x00"):
        with pytest.raises(ValueError, match=r"^the value of A has"):
            filled("$A", {"A": value})
    with pytest.raises(ValueError, match="A is not passed on"):
        filled("$A", {})


def test_the_tables_keys_reach_the_policy(tmp_path) -> None:
    more = "timeout = 1500\nallowSampling = true\nallowElicitation = true\n"
    _, _, policy = decided(tmp_path, more)
    assert (policy.timeout, policy.allow_sampling, policy.allow_elicitation) == (1.5, True, True)
    _, _, plain = decided(tmp_path, "")
    assert (plain.timeout, plain.allow_sampling, plain.allow_elicitation, plain.headers) == (None, False, False, ())
    for wrong in ("timeout = 0", "timeout = 1.5", "lazyInit = true", 'requiredEnv = ["A"]', 'command = "x"'):
        with pytest.raises(ConfigError):
            decided(tmp_path, wrong)


# --- in a run ---------------------------------------------------------------------------------------------------------


def transports(way):
    class Remote:
        def transport(self, skill_type: str) -> TransportSpec:
            return TransportSpec(type=skill_type, summary="", factory=lambda: RemoteTransport("http", reach=way))

    return Remote()


async def test_every_connection_of_a_run_is_audited_the_refused_one_too(tmp_path) -> None:
    server, events = HttpServer(), Events()
    _, _, policy = decided(tmp_path, TOKEN)
    with server.served() as url:
        policy = replace(policy, endpoint=url)
        env = {"tickets": {"TICKETS_TOKEN": "canary-3fe2"}}
        context = lease_context(Path(tmp_path), events, registry=transports(reach()))
        async with open_skills([policy], env=env, context=context) as skills:
            await skills["tickets"].session.call("tool", {}, timeout=10)
        assert {seen["authorization"] for seen in server.headers} == {"Bearer canary-3fe2"}
        assert events.of(SkillConnected, "server_name") == ["http"]
        allowed = [event for event in events.all if isinstance(event, ProxyAccess)]
        assert {(one.action, one.domain, one.skill_name) for one in allowed} == {("allowed", HOST, "tickets")}

        refused = Events()
        context = lease_context(Path(tmp_path), refused, registry=transports(reach(refusal=INTERNET.refusal)))
        with pytest.raises(SkillError, match="'tickets' did not connect"):
            async with open_skills([policy], env=env, context=context):
                pass
    (blocked,) = [event for event in refused.all if isinstance(event, ProxyAccess)]
    assert (blocked.action, blocked.domain) == ("blocked", HOST)
    assert "127.0.0.1 is not public: loopback" in blocked.reason
    assert len(refused.of(SkillDisconnected, "skill_name")) == 1
    assert "canary" not in repr(events.all) + repr(refused.all)
