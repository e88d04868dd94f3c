"""What a skill may do is decided once, for the Expert and for all that it can delegate to."""

from __future__ import annotations

import dataclasses
import sys

import pytest
from perstack.errors import ConfigError, ControlsMissing, ExitCode, PolicyError
from perstack.policy.decide import closure
from perstack.skill_policy import CONTROLS
from perstack.specs import EgressRule
from perstack_proxy.limits import MIB
from projects import EVERYTHING, EXPERT, LOCAL, decision, load, plugin, plugins, runtime, skill, skill_table

TEAM = """
[experts.lead]
instruction = "x"
delegates = ["a", "b"]
[experts.a]
instruction = "x"
delegates = ["lead", "b", "a"]
[experts.b]
instruction = "x"
delegates = ["@org/deep"]
[experts."@org/deep"]
instruction = "x"
[experts.apart]
instruction = "x"
"""


def test_delegates_are_followed_through_others_and_round_in_circles(tmp_path) -> None:
    decided = decision(load(tmp_path, TEAM), "lead")
    assert list(decided.experts) == ["lead", "a", "b", "@org/deep"]
    assert decided.root == "lead"


def test_an_unknown_expert_or_delegate_is_named_with_a_suggestion_and_its_line(tmp_path) -> None:
    loaded = load(tmp_path, TEAM.replace('= ["@org/deep"]', '= ["@org/deeep", "@other/x"]'))
    with pytest.raises(ConfigError) as caught:
        closure(loaded, "lead")
    first, second = caught.value.problems
    assert (first.line, "'@org/deeep'" in first.message, "'@org/deep'" in first.hint) == (10, True, True)
    assert "registry" in second.hint
    with pytest.raises(ConfigError, match="Did you mean 'lead'"):
        closure(loaded, "leed")


def test_a_broken_expert_is_refused_when_it_takes_part_and_only_then(tmp_path) -> None:
    loaded = load(tmp_path, TEAM.replace('[experts."@org/deep"]\n', '[experts."@org/deep"]\nversion = 1\n'))
    assert decision(loaded, "apart")
    with pytest.raises(ConfigError, match="must be a string, not a number"):
        decision(loaded, "lead")


def test_a_decision_cannot_be_changed(tmp_path) -> None:
    policy = decision(load(tmp_path, EXPERT)).skills[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.egress = ()


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "argv"),
    [
        ('command = "npx"\npackageName = "p@1"', ("npx", "-y", "p@1")),
        ('command = "npx"\nargs = ["p", "-x"]', ("npx", "-y", "p", "-x")),
        ('command = "npx"\nargs = ["-y", "p"]', ("npx", "-y", "p")),
        ('command = "npx"\nargs = ["--yes", "p"]', ("npx", "--yes", "p")),
        ('command = "uvx"\npackageName = "p"', ("uvx", "p")),
        ('command = "/opt/server"', ("/opt/server",)),
        ('command = "python"\nargs = ["-m", "x; rm -rf $HOME"]', ("python", "-m", "x; rm -rf $HOME")),
    ],
)
def test_T3_the_command_is_the_declared_one_word_by_word(tmp_path, declared, argv) -> None:
    text = skill_table("").replace('command = "server"', declared)
    assert skill(decision(load(tmp_path, text))).argv == argv


BUNDLED = (sys.executable, "-E", "-P", "-m", "perstack_skill_base")


def base(directory, declared: str = "", **options) -> tuple[str, ...]:
    text = EXPERT + declared
    return skill(decision(load(directory, text, **options)), "@perstack/base").argv


BASE = '[experts.writer.skills."@perstack/base"]\ntype = "mcpStdioSkill"\n'


def test_every_expert_has_the_base_skill_first_whether_or_not_it_declares_others(tmp_path) -> None:
    assert base(tmp_path) == BUNDLED
    decided = decision(load(tmp_path, skill_table("")))
    assert [policy.skill for policy in decided.skills] == ["@perstack/base", "tool"]
    assert decided.skills[0].origin.source == "built-in"


@pytest.mark.parametrize(
    ("declared", "argv"),
    [
        ('pick = ["exec"]', BUNDLED),
        ('command = "npx"\npackageName = "@perstack/base"', BUNDLED),
        ('command = "npx"\nargs = ["-y", "@perstack/base"]', BUNDLED),
        ('command = "npx"\npackageName = "@perstack/base@0.0.40"', ("npx", "-y", "@perstack/base@0.0.40")),
        ('command = "npx"\npackageName = "@perstack/base-evil"', ("npx", "-y", "@perstack/base-evil")),
        ('command = "npx"\nargs = ["@perstack/base", "extra"]', ("npx", "-y", "@perstack/base", "extra")),
        ('command = "mine"', ("mine",)),
    ],
)
def test_AC10_only_the_exact_package_under_the_exact_name_is_the_bundled_skill(tmp_path, declared, argv) -> None:
    assert base(tmp_path, BASE + declared) == argv


@pytest.mark.parametrize("name", ["@perstack/Base", "@perstack/base2", "perstack/base", "@perstack/base.x"])
def test_AC10_a_skill_with_a_name_like_the_base_skills_is_kept_as_what_it_is(tmp_path, name) -> None:
    text = skill_table("", skill=f'"{name}"').replace('"server"', '"npx"\npackageName = "@perstack/base"')
    decided = decision(load(tmp_path, text))
    assert [policy.skill for policy in decided.skills] == ["@perstack/base", name]
    assert skill(decided, name).argv == ("npx", "-y", "@perstack/base")


def test_AC9_the_operator_may_replace_the_base_skill(tmp_path) -> None:
    own = 'perstackBaseSkillCommand = ["/opt/base", "--x"]\n'
    assert base(tmp_path, user=own) == ("/opt/base", "--x")
    assert base(tmp_path, BASE + 'command = "mine"', user=own) == ("mine",)


# --- domains ---------------------------------------------------------------------------------------------------------


def test_an_empty_list_of_domains_allows_none_and_a_list_only_its_own(tmp_path) -> None:
    assert skill(decision(load(tmp_path, skill_table("")))).egress == ()
    assert skill(decision(load(tmp_path, skill_table("allowedDomains = []")))).egress == ()
    text = skill_table('allowedDomains = [\n"API.Example.com.",\n"*.example.org"]')
    grants = skill(decision(load(tmp_path, text))).egress
    assert [(grant.pattern, grant.origin.line) for grant in grants] == [("api.example.com", 7), ("*.example.org", 8)]


@pytest.mark.parametrize(
    ("denied", "refused"),
    [
        ("api.example.com", True),
        ("*.example.com", True),
        ("*.com", True),
        ("deep.wild.example", True),
        ("*.deep.wild.example", True),
        ("*.api.example.com", False),
        ("example.com", False),
        ("wild.example", False),
    ],
)
def test_a_plugins_denial_of_any_host_that_was_asked_for_refuses_the_start(tmp_path, denied, refused) -> None:
    def egress_rules():
        return [
            EgressRule(action="allow", pattern="added.example", reason=""),
            EgressRule(action="deny", pattern=denied, reason="no"),
        ]

    loaded = load(tmp_path, skill_table('allowedDomains = ["api.example.com", "*.wild.example"]'))
    registry = plugins(plugin("guard", egress_rules=egress_rules))
    if refused:
        with pytest.raises(PolicyError, match=r"plugin 'guard' denies the domain .*: no"):
            decision(loaded, registry=registry)
    else:
        grants = skill(decision(loaded, registry=registry)).egress
        assert [grant.pattern for grant in grants] == ["api.example.com", "*.wild.example"]


def test_a_rule_whose_pattern_means_nothing_refuses_the_start(tmp_path) -> None:
    registry = plugins(plugin("guard", egress_rules=lambda: [EgressRule(action="deny", pattern="*", reason="")]))
    with pytest.raises(PolicyError, match="'guard' has a rule that means nothing"):
        decision(load(tmp_path, skill_table("")), registry=registry)


# --- controls and limits ---------------------------------------------------------------------------------------------

ALL_BUT_OPTIONAL = EVERYTHING - {"limits.swap", "limits.disk"}


@pytest.mark.parametrize("name", ["docker", "podman", "acme"])
@pytest.mark.parametrize("missing", CONTROLS)
def test_a_runtime_has_to_claim_every_control_but_two(tmp_path, name, missing) -> None:
    loaded = load(tmp_path, skill_table(""))
    on = runtime(name, EVERYTHING - {missing})
    if missing in {"limits.swap", "limits.disk"}:
        assert skill(decision(loaded, on=on)).required == ALL_BUT_OPTIONAL
        return
    with pytest.raises(ControlsMissing, match=missing) as caught:
        decision(loaded, on=on)
    assert caught.value.exit_code == ExitCode.REFUSED


def test_the_local_runtime_is_asked_for_env_alone_unless_the_policy_names_more(tmp_path) -> None:
    assert skill(decision(load(tmp_path, skill_table("")))).required == {"env"}
    for who in ("project", "user"):
        rule = '[policy]\nrequire = ["network", "limits.disk"]\n'
        loaded = load(
            tmp_path, skill_table("") + (rule if who == "project" else ""), user=rule if who == "user" else ""
        )
        with pytest.raises(ControlsMissing) as caught:
            decision(loaded, on=LOCAL)
        assert caught.value.missing == ("limits.disk", "network")


def test_the_users_own_settings_relax_a_single_control(tmp_path) -> None:
    loaded = load(tmp_path, skill_table(""), user='[policy]\nrelax = ["limits.pids"]\n')
    assert skill(decision(loaded, on=runtime(claims=EVERYTHING - {"limits.pids"}))).required == ALL_BUT_OPTIONAL - {
        "limits.pids"
    }
    with pytest.raises(ControlsMissing, match="network"):
        decision(loaded, on=runtime(claims=EVERYTHING - {"network"}))


def test_limits_are_the_requirements_and_can_be_lowered(tmp_path) -> None:
    limits = skill(decision(load(tmp_path, skill_table("")))).limits
    assert (limits.memory, limits.memory_reserved, limits.cpus, limits.pids) == (2048 * MIB, 256 * MIB, 2.0, 256)
    lower = skill_table('limits = { memory = "128MiB", cpus = 0.5, pids = 16 }')
    limits = skill(decision(load(tmp_path, lower))).limits
    assert (limits.memory, limits.memory_reserved, limits.cpus, limits.pids) == (128 * MIB, 128 * MIB, 0.5, 16)
    assert limits.origin.line == 6


@pytest.mark.parametrize("asked", ['memory = "3GiB"', "cpus = 2.5", "pids = 257"])
def test_a_project_cannot_raise_a_limit_above_what_its_user_allows(tmp_path, asked) -> None:
    text = skill_table(f"limits = {{ {asked} }}")
    with pytest.raises(PolicyError, match="more than"):
        decision(load(tmp_path, text))
    more = '[policy.limits]\nmemory = "4GiB"\ncpus = 4\npids = 512\n'
    assert decision(load(tmp_path, text, user=more))
    less = '[policy.limits]\nmemory = "64MiB"\ncpus = 1\npids = 8\n'
    limits = skill(decision(load(tmp_path, skill_table(""), user=less))).limits
    assert (limits.memory, limits.cpus, limits.pids) == (64 * MIB, 1, 8), "the user's limits hold for all skills"


def test_the_workspace_is_the_only_mount(tmp_path) -> None:
    mounts = skill(decision(load(tmp_path, skill_table("")), on=runtime())).mounts
    assert [(mount.host, mount.target, mount.mode) for mount in mounts] == [(tmp_path, "/workspace", "rw")]


def test_skills_without_a_process_get_no_variables_no_mounts_and_no_command(tmp_path) -> None:
    text = (
        EXPERT
        + """
[experts.writer.skills.remote]
type = "mcpSseSkill"
endpoint = "https://mcp.example.com/sse"
[experts.writer.skills.ask]
type = "interactiveSkill"
[experts.writer.skills.ask.tools.q]
inputJsonSchema = "{}"
"""
    )
    decided = decision(load(tmp_path, text, environ={"PATH": "/bin"}))
    for name, endpoint in (("remote", "https://mcp.example.com/sse"), ("ask", "")):
        policy = skill(decided, name)
        assert (policy.argv, policy.env, policy.mounts, policy.endpoint) == ((), (), (), endpoint)


def test_everything_that_is_refused_is_told_at_once(tmp_path) -> None:
    text = skill_table('requiredEnv = ["OPENAI_API_KEY", "DEEPSEEK_API_KEY"]\nlimits = { pids = 999 }')
    with pytest.raises(PolicyError) as caught:
        decision(load(tmp_path, text))
    for part in ("OPENAI_API_KEY", "DEEPSEEK_API_KEY", "pids"):
        assert part in str(caught.value)
