"""Which variables reach a skill: the safe ones, what it asks for, and nothing else."""

from __future__ import annotations

import uuid

import pytest
from perstack.errors import ConfigError, PolicyError
from perstack.policy.decide import secret_values
from perstack.policy.env import env_values
from perstack.specs import EnvRule, ProviderSpec
from perstack_proxy.envnames import PROTECTED_NAMES, SAFE_NAMES
from projects import LOCAL, decision, load, plugin, plugins, runtime, skill, skill_table


def canary() -> str:
    return uuid.uuid4().hex


def values(directory, body: str, environ: dict[str, str], **options) -> dict[str, str]:
    loaded = load(directory, skill_table(body), environ=environ)
    return env_values(skill(decision(loaded, **options)), loaded.host_env)


def test_V1_T4_T9_a_skill_sees_what_it_asks_for_and_none_of_thirty_others(tmp_path) -> None:
    wanted, secret = canary(), canary()
    others = {f"SECRET_{number}": f"{secret}{number}" for number in range(30)}
    seen = values(tmp_path, 'requiredEnv = ["WANTED"]', {"WANTED": wanted, "PATH": "/bin", **others})
    assert seen == {"WANTED": wanted, "PATH": "/bin"}
    assert secret not in str(seen)


def test_V2_all_safe_names_pass_unchanged_on_local_if_they_have_a_value(tmp_path) -> None:
    environ = {name: canary() for name in SAFE_NAMES}
    assert len(environ) == 14
    assert values(tmp_path, "", environ) == environ
    environ["TERM"] = ""
    assert "TERM" not in values(tmp_path, "", environ)
    assert values(tmp_path, "", {"path": "x", "Home": "y"}) == {}, "their case is exact"


@pytest.mark.parametrize("name", PROTECTED_NAMES)
def test_V3_a_skill_cannot_ask_for_a_protected_name_in_any_case(tmp_path, name) -> None:
    secret = canary()
    spellings = sorted({name, name.lower(), name.title()})
    environ = {"OTHER": secret, **dict.fromkeys(spellings, secret)}
    for entry in ('"{}"', '{{ name = "{}", from = "OTHER" }}'):
        body = f"requiredEnv = [{', '.join(entry.format(spelling) for spelling in spellings)}]"
        problems = load(tmp_path, skill_table(body), environ=environ).broken["writer"]
        assert [problem.message.split(": it")[0] for problem in problems] == [
            f"{spelling!r} is a protected name" for spelling in spellings
        ]
    loaded = load(tmp_path, skill_table('requiredEnv = ["OTHER"]'), environ=environ)
    with pytest.raises(PolicyError, match="protected name") as caught:
        decision(loaded, extra_env=spellings)
    assert str(caught.value).count("is a protected name") == 2 * len(spellings), "for the base skill as well"
    assert secret not in str(caught.value)
    seen = env_values(skill(decision(loaded)), loaded.host_env)
    assert seen.pop("OTHER") == secret
    assert set(seen) <= set(SAFE_NAMES)


def test_V3_names_that_only_identify_may_be_asked_for(tmp_path) -> None:
    environ = {"GIT_AUTHOR_NAME": canary(), "GITHUB_TOKEN": canary()}
    assert values(tmp_path, 'requiredEnv = ["GIT_AUTHOR_NAME", "GITHUB_TOKEN"]', environ) == environ


def test_V5_a_missing_or_empty_variable_is_an_error_that_names_skill_and_variable(tmp_path) -> None:
    body = 'requiredEnv = ["GONE", "EMPTY"]'
    assert values(tmp_path, body, {"GONE": "1", "EMPTY": "1"})
    with pytest.raises(ConfigError) as caught:
        values(tmp_path, body, {"EMPTY": ""})
    problems = caught.value.problems
    assert [
        (name in str(problem), "'tool'" in str(problem))
        for name, problem in zip(["EMPTY", "GONE"], problems, strict=True)
    ] == [(True, True)] * 2
    assert problems[0].line == 6


def test_V6_a_value_goes_to_the_skill_that_asked_and_to_no_other(tmp_path) -> None:
    text = skill_table('requiredEnv = ["KEY_A"]', skill="a")
    text += '[experts.writer.skills.b]\ntype = "mcpStdioSkill"\ncommand = "b"\nrequiredEnv = ["KEY_B"]\n'
    environ = {"KEY_A": canary(), "KEY_B": canary()}
    loaded = load(tmp_path, text, environ=environ)
    decided = decision(loaded)
    seen = {policy.skill: env_values(policy, loaded.host_env) for policy in decided.skills}
    assert seen == {"@perstack/base": {}, "a": {"KEY_A": environ["KEY_A"]}, "b": {"KEY_B": environ["KEY_B"]}}


def test_V7_a_skill_can_have_a_key_of_its_own_under_the_name_it_knows(tmp_path) -> None:
    own, shared = canary(), canary()
    body = 'requiredEnv = [{ name = "API_KEY", from = "TOOL_API_KEY", description = "searches" }]'
    environ = {"API_KEY": shared, "TOOL_API_KEY": own}
    assert values(tmp_path, body, environ) == {"API_KEY": own}
    grant = skill(decision(load(tmp_path, skill_table(body), environ=environ))).env[0]
    assert (grant.name, grant.source, grant.secret, grant.description) == ("API_KEY", "TOOL_API_KEY", True, "searches")
    assert str(grant.origin) == f"{tmp_path / 'perstack.toml'}:6"


def test_V9_the_decision_says_which_skill_gets_which_secret(tmp_path) -> None:
    environ = {"KEY": canary(), "PATH": "/bin", "UNUSED": canary()}
    loaded = load(tmp_path, skill_table('requiredEnv = ["KEY"]'), environ=environ)
    decided = decision(loaded)
    provider = canary()
    assert secret_values(decided, loaded.host_env, {"MODEL_KEY": provider, "OPTIONAL": ""}) == {
        "KEY": environ["KEY"],
        "MODEL_KEY": provider,
    }
    assert environ["KEY"] not in repr(decided), "a policy holds names and no values"


PROVIDER = ProviderSpec(name="acme", summary="", factory=dict, required_env=("ACME_KEY",), secret_env=("ACME_KEY",))


@pytest.mark.parametrize("key", ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "PERSTACK_API_KEY", "ACME_KEY"])
@pytest.mark.parametrize("entry", ['"{key}"', '{{ name = "INNOCENT", from = "{key}" }}'])
def test_AS10_a_skill_does_not_get_the_key_of_a_model_provider(tmp_path, key, entry) -> None:
    secret = canary()
    text = skill_table(f"requiredEnv = [{entry.format(key=key)}]")
    registry = plugins(plugin("acme", PROVIDER))
    with pytest.raises(PolicyError, match="key of a model provider") as caught:
        decision(load(tmp_path, text, environ={key: secret}), registry=registry)
    assert "'tool'" in str(caught.value)
    assert secret not in str(caught.value)
    loaded = load(tmp_path, text, user=f'[policy]\nallowProviderKeys = ["{key}"]\n', environ={key: secret})
    assert secret in env_values(skill(decision(loaded, registry=registry)), loaded.host_env).values()


def test_AS10_the_command_line_does_not_hand_out_a_providers_key_either(tmp_path) -> None:
    loaded = load(tmp_path, skill_table(""), environ={"OPENAI_API_KEY": canary(), "OTHER": "1"})
    assert [grant.name for grant in skill(decision(loaded, extra_env=["OTHER"])).env] == ["OTHER"]
    with pytest.raises(PolicyError, match="--env"):
        decision(loaded, extra_env=["OPENAI_API_KEY"])


def test_a_key_of_ones_own_may_have_the_name_of_a_providers(tmp_path) -> None:
    body = 'requiredEnv = [{ name = "OPENAI_API_KEY", from = "TOOL_KEY" }]'
    assert values(tmp_path, body, {"TOOL_KEY": "own", "OPENAI_API_KEY": "main"}) == {"OPENAI_API_KEY": "own"}


def test_W_53_extra_variables_come_from_env_files_too_and_go_to_the_asked_expert_alone(tmp_path) -> None:
    (tmp_path / ".env").write_text("EXTRA=1\n")
    text = skill_table("").replace('"Write."', '"Write."\ndelegates = ["other"]')
    loaded = load(tmp_path, text + skill_table("", expert="other"))
    decided = decision(loaded, extra_env=["EXTRA"])
    assert env_values(skill(decided), loaded.host_env) == {"EXTRA": "1"}
    assert env_values(skill(decided, expert="other"), loaded.host_env) == {}


@pytest.mark.parametrize(
    ("name", "refused"), [("KEY", True), ("K*", True), ("HOST_*", True), ("key", False), ("PATH", False)]
)
def test_a_plugins_denial_of_a_name_or_of_its_source_refuses_the_start(tmp_path, name, refused) -> None:
    def env_rules(target):
        assert target.requested == (("KEY",) if target.skill == "tool" else ())
        return [EnvRule(action="allow", name="*", reason=""), EnvRule(action="deny", name=name, reason="not here")]

    registry = plugins(plugin("guard", env_rules=env_rules))
    text = skill_table('requiredEnv = [{ name = "KEY", from = "HOST_KEY" }]')
    loaded = load(tmp_path, text, environ={"HOST_KEY": "1", "PATH": "/bin", "OTHER": "1"})
    if refused:
        with pytest.raises(PolicyError, match="plugin 'guard' denies the variable HOST_KEY: not here"):
            decision(loaded, registry=registry)
    else:
        seen = env_values(skill(decision(loaded, registry=registry)), loaded.host_env)
        assert seen == ({"KEY": "1"} if name == "PATH" else {"KEY": "1", "PATH": "/bin"}), "an allow adds nothing"


def test_a_rule_that_raises_refuses_the_start(tmp_path) -> None:
    def env_rules():
        raise OSError("broken")

    loaded = load(tmp_path, skill_table(""))
    assert decision(loaded)
    with pytest.raises(PolicyError, match="guard"):
        decision(loaded, registry=plugins(plugin("guard", env_rules=env_rules)))


def test_where_a_runtime_enforces_the_network_and_the_files_it_sets_those_names_itself(tmp_path) -> None:
    environ = {name: canary() for name in SAFE_NAMES}
    loaded = load(tmp_path, skill_table('requiredEnv = ["HTTPS_PROXY", "KEY"]'), environ={**environ, "KEY": "1"})
    contained = skill(decision(loaded, on=runtime()))
    assert [grant.name for grant in contained.env] == ["KEY", "TERM"]
    assert len(skill(decision(loaded, on=LOCAL)).env) == 15
