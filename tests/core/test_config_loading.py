"""Where a configuration comes from: files, settings, variables and options, in that order, each with its origin."""

from __future__ import annotations

import os
import uuid

import pytest
from perstack.config import files
from perstack.config.loading import load_project
from perstack.config.models import Project
from perstack.errors import ConfigError
from perstack.skill_policy import Origin
from perstack.specs import ConfigLayer
from projects import EXPERT, load, plugin, plugins, write


def refused(*arguments, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*arguments, **options)
    return str(caught.value)


def test_the_closest_file_above_the_working_directory_is_read(tmp_path) -> None:
    write(tmp_path, EXPERT + 'description = "far"\n')
    near = write(tmp_path / "a", EXPERT + 'description = "near"\n')
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    loaded = load(deep)
    assert loaded.project.experts["writer"].description == "near"
    assert (loaded.path, loaded.directory) == (near, near.parent)


def test_a_named_file_is_read_and_nothing_is_searched(tmp_path) -> None:
    write(tmp_path, EXPERT)
    other = write(tmp_path / "x", EXPERT.replace("writer", "other"), name="other.toml")
    loaded = load_project(config="x/other.toml", cwd=tmp_path, overrides={}, environ={})
    assert (list(loaded.project.experts), loaded.path) == (["other"], other)
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read: no such file"):
        load_project(config="gone.toml", cwd=tmp_path, overrides={}, environ={})


def test_W_46_without_a_project_the_users_own_experts_are_enough(tmp_path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    message = refused(empty)
    assert "there is no perstack.toml" in message
    assert str(empty) in message
    assert "--config" in message
    loaded = load(empty, user=EXPERT)
    assert list(loaded.project.experts) == ["writer"]
    assert loaded.directory == empty


@pytest.mark.parametrize("url", ["https://raw.githubusercontent.com/a/b/main/perstack.toml", "HTTP://x/y.toml"])
def test_AC6_a_remote_file_is_refused_with_a_reason(tmp_path, url) -> None:
    with pytest.raises(ConfigError, match="remote") as caught:
        load_project(config=url, cwd=tmp_path, overrides={}, environ={})
    assert "Download it" in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no numeric owners here")
def test_a_file_that_another_user_put_above_the_working_directory_is_refused(tmp_path, monkeypatch) -> None:
    write(tmp_path, EXPERT)
    below = tmp_path / "below"
    below.mkdir()
    assert load(below).project.experts
    uid = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: uid + 1 if uid else 1000)
    if uid == 0:  # a file of root is trusted everywhere; give it to somebody else
        os.chown(tmp_path / "perstack.toml", 12345, -1)
    assert "belongs to another user" in refused(below)
    assert load(tmp_path).project.experts, "being in the directory is a choice"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_and_a_huge_file_are_refused_without_waiting(tmp_path) -> None:
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    huge = tmp_path / "huge.toml"
    huge.write_bytes(b"#" * (files.LONGEST + 1))
    for path, message in ((pipe, "is not a file"), (huge, "is longer than")):
        with pytest.raises(ConfigError, match=message):
            load_project(config=str(path), cwd=tmp_path, overrides={}, environ={})


def test_each_layer_holds_over_the_ones_below_and_every_value_keeps_its_origin(tmp_path) -> None:
    project = tmp_path / "project"
    write(project, "PERSTACK_MODEL=file\nPERSTACK_TIMEOUT=44\n", name=".env")
    text = 'model = "project"\nmaxSteps = 3\ntimeout = 33\n' + EXPERT
    user = "maxRetries = 2\nmaxSteps = 2\n"
    environ = {"PERSTACK_TIMEOUT": "55", "PERSTACK_REASONING_BUDGET": "high"}
    loaded = load(project, text, user=user, environ=environ, overrides={"maxSteps": 6})
    settings = project.parent / "project-settings" / "perstack" / "config.toml"
    found = loaded.project
    assert (found.model, found.max_steps, found.max_retries, found.timeout) == ("file", 6, 2, 55)
    assert found.reasoning_budget == "high"
    at = loaded.origins.at
    assert at("maxSteps") == Origin(source="--max-steps")
    assert at("maxRetries") == Origin(source=str(settings), line=1)
    assert at("timeout") == Origin(source="PERSTACK_TIMEOUT")
    assert str(at("model")) == f"PERSTACK_MODEL in {project / '.env'}:1"
    assert at("envPath") == Origin(source="built-in")
    assert at("experts", "writer", "instruction") == Origin(source=str(project / "perstack.toml"), line=6)


def test_the_site_lies_below_the_user(tmp_path) -> None:
    write(tmp_path, "maxSteps = 1\nmaxRetries = 1\n", name="site/perstack/config.toml")
    write(tmp_path, "maxSteps = 2\n", name="own/perstack/config.toml")
    write(tmp_path, EXPERT)
    environ = {"XDG_CONFIG_DIRS": str(tmp_path / "site"), "XDG_CONFIG_HOME": str(tmp_path / "own")}
    project = load_project(cwd=tmp_path, overrides={}, environ=environ).project
    assert (project.max_steps, project.max_retries) == (2, 1)


def test_W_22_settings_of_one_provider_do_not_become_those_of_another(tmp_path) -> None:
    text = '[provider]\nproviderName = "openai"\n[provider.setting]\nbaseUrl = "https://a.example"\n' + EXPERT
    same = load(tmp_path, text, overrides={"provider": {"providerName": "openai"}}).project.provider
    other = load(tmp_path, text, overrides={"provider": {"providerName": "anthropic"}}).project.provider
    assert same is not None
    assert same.setting == {"baseUrl": "https://a.example"}
    assert other is not None
    assert other.setting == {}


def test_an_expert_comes_whole_from_one_layer(tmp_path) -> None:
    user = EXPERT + '[experts.writer.skills.mine]\ntype = "mcpStdioSkill"\ncommand = "mine"\n'
    loaded = load(tmp_path, EXPERT, user=user)
    assert loaded.project.experts["writer"].skills == {}


def test_lists_that_narrow_are_united_so_that_no_project_takes_a_line_away(tmp_path) -> None:
    user = '[policy]\nrequire = ["network"]\n[plugins]\nblock = ["a"]\n'
    loaded = load(tmp_path, EXPERT + '[policy]\nrequire = ["env"]\n[plugins]\nblock = []\n', user=user)
    assert loaded.project.policy.require == ("network", "env")
    assert loaded.project.plugins.block == ("a",)
    assert loaded.origins.at("policy", "require", 1).source == str(loaded.path)


def test_the_policy_for_one_project_holds_in_its_directory_alone(tmp_path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    user = f'[projects."{here}".policy]\naccept = ["X"]\n'
    assert load(here, EXPERT, user=user).project.policy.accept == ("X",)
    assert load(there, EXPERT, user=user).project.policy.accept == ()
    assert "may hold policy and nothing else" in refused(here, user=f'[projects."{here}"]\nmodel = "m"\n')
    assert "is not an absolute directory" in refused(here, user="[projects.here.policy]\n")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('perstackBaseSkillCommand = ["evil"]', "perstackBaseSkillCommand"),
        ('[plugins]\nallow = ["x"]', "plugins.allow"),
        ('[policy]\nrelax = ["network"]', "policy.relax"),
        ('[policy]\nallowProviderKeys = ["OPENAI_API_KEY"]', "policy.allowProviderKeys"),
        ('[policy]\naccept = ["PKG001:0"]', "policy.accept"),
        ("[policy.limits]\npids = 9000", "policy.limits"),
        ('[projects."/".policy]', "projects"),
    ],
)
def test_AC9_a_project_may_not_say_what_only_its_user_may(tmp_path, text, key) -> None:
    first = f"{text}\n" if "[" not in text.split("=")[0] else ""
    message = refused(tmp_path, first + EXPERT + ("" if first else text))
    assert f"{key}: may not stand in a project's file" in message
    assert "your own settings" in message
    if not key.startswith("projects"):
        assert load(tmp_path, EXPERT, user=text).project, "the user may"


def test_layers_of_plugins_take_part_with_their_origin(tmp_path) -> None:
    def layers(context):
        return [ConfigLayer(rank=10, origin=Origin(source="/etc/acme"), values={"maxSteps": 7, "maxRetries": 7})]

    registry = plugins(plugin("acme", config_layers=layers))
    loaded = load(tmp_path, "maxRetries = 1\n" + EXPERT, registry=registry)
    assert (loaded.project.max_steps, loaded.project.max_retries) == (7, 1)
    assert loaded.origins.at("maxSteps") == Origin(source="/etc/acme")


def test_a_file_of_another_format_is_read_by_a_plugin(tmp_path) -> None:
    def parse(data):
        return {"experts": {data.decode(): {"instruction": "x"}}}

    write(tmp_path, "other", name="p.acme")
    loaded = load_project(
        config="p.acme", cwd=tmp_path, overrides={}, environ={}, registry=plugins(plugin("acme", parse_config=parse))
    )
    assert list(loaded.project.experts) == ["other"]
    with pytest.raises(ConfigError, match=r"ends in \.toml"):
        load_project(config="p.acme", cwd=tmp_path, overrides={}, environ={})


def test_W_51_defaults_are_those_of_the_models(tmp_path) -> None:
    project = load(tmp_path, EXPERT).project
    assert project == Project(experts=project.experts)
    assert (project.max_steps, project.max_retries, project.timeout) == (100, 5, 300_000)
    assert (project.reasoning_budget, project.runtime, project.model) == ("low", None, None)


@pytest.mark.parametrize("text", ["10abc", "", " 5", "1_0", "+5", "1.5", "ten", "\u0663"])
def test_W_51_a_number_in_a_variable_is_a_number_or_an_error(tmp_path, text) -> None:
    write(tmp_path, EXPERT)
    if not text:
        assert load(tmp_path, environ={"PERSTACK_MAX_STEPS": text}).project.max_steps == 100
        return
    message = refused(tmp_path, environ={"PERSTACK_MAX_STEPS": text})
    assert message == f"PERSTACK_MAX_STEPS: {text!r} is not a whole number"


def test_all_problems_of_all_layers_are_told_at_once(tmp_path) -> None:
    canary = f"K{uuid.uuid4().hex}"
    write(tmp_path, f"no assignment {canary}\n", name=".env")
    message = refused(tmp_path, 'maxSteps = 0\nperstackBaseSkillCommand = ["x"]\n' + EXPERT, user="maxRetries = -1\n")
    for part in ("maxSteps", "perstackBaseSkillCommand", "maxRetries", ".env:1"):
        assert part in message
    assert canary not in message
