"""Tools that run at the model's vendor: off where the network is guarded, told where they are on."""

from __future__ import annotations

from pathlib import Path

import pytest
from perstack.config.opening import open_project
from perstack.messages import JsonObject
from perstack.policy.provider_tools import ProviderTools, provider_tools
from perstack.specs import ProviderSpec, RuntimeSpec
from perstack.testing.model_server import ModelServer, Turn
from perstack.testing.project import Project

EXPERT = """\
[experts.demo]
instruction = "You are the demo Expert."
providerTools = ["webSearch", "neverHeardOf"]
providerSkills = [{ type = "builtin", skillId = "pdf" }]
providerToolOptions = { webSearch = { maxUses = 3, allowedDomains = ["docs.example.com"] } }
"""


def absent(_context: object) -> object:
    raise AssertionError("nothing is made to decide")


def decided(project: Project, *, claims: frozenset[str], user: str = "") -> ProviderTools:
    config = project.directory.parent / "config" / "perstack"
    config.mkdir(parents=True, exist_ok=True)
    (config / "config.toml").write_text(user)
    loaded, _ = open_project(
        config=None,
        cwd=project.directory,
        overrides={},
        environ={"XDG_CONFIG_HOME": str(config.parent)},
        env_paths=None,
        plugin_options=(),
    )
    provider = ProviderSpec(
        name="p", summary="", factory=absent, provider_tools=frozenset({"webSearch", "providerSkills"})
    )
    runtime = RuntimeSpec(name="r", summary="", factory=absent, claims=claims)
    return provider_tools(loaded.project.experts["demo"], loaded, provider=provider, runtime=runtime)


def test_W_09_AN11_where_the_network_is_guarded_only_the_user_opens_the_way_around_it(project: Project) -> None:
    project.write(EXPERT)
    guarded = frozenset({"network", "env"})
    closed = decided(project, claims=guarded)
    assert closed.given == {}
    assert all("past the sandbox" in closed.withheld[name] for name in ("webSearch", "providerSkills"))
    opened = decided(project, claims=guarded, user="[policy]\nallowProviderTools = true\n")
    assert list(opened.given) == ["webSearch", "providerSkills"], "the control"
    assert opened.given["providerSkills"] == {"skills": [{"type": "builtin", "skillId": "pdf"}]}
    assert list(opened.withheld) == ["neverHeardOf"]
    assert list(decided(project, claims=frozenset({"env"})).given) == ["webSearch", "providerSkills"]


def test_W_09_a_project_cannot_open_it_itself(project: Project) -> None:
    project.write(EXPERT + "[policy]\nallowProviderTools = true\n")
    refused = project.perstack("check")
    assert refused.exit_code == 1
    assert "allowProviderTools" in refused.stdout + refused.stderr


SENT: dict[str, tuple[str, JsonObject]] = {
    "anthropic": (
        'model = "m"\n[provider]\nproviderName = "anthropic"\n',
        {
            "type": "web_search_20250305",
            "name": "web_search",
            "max_uses": 3,
            "allowed_domains": ["docs.example.com"],
        },
    ),
    "openai": (
        'model = "m"\n[provider]\nproviderName = "openai"\n[provider.setting]\napi = "responses"\n',
        {"type": "web_search", "filters": {"allowed_domains": ["docs.example.com"]}},
    ),
}


@pytest.mark.parametrize("provider", SENT)
def test_W_09_what_is_on_reaches_the_vendor_and_the_person_is_told(project: Project, provider: str) -> None:
    table, tool = SENT[provider]
    project.write(EXPERT, provider=table)
    with ModelServer([Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 0
    tools = server.requests[0].body["tools"]
    assert tools[0] == tool
    assert len(tools) > 1
    assert "demo: webSearch: on, reaches the network" in result.stderr
    assert "demo: neverHeardOf: off" in result.stderr
    assert f"demo: providerSkills: {'on' if provider == 'anthropic' else 'off'}" in result.stderr
    assert ("container" in server.requests[0].body) is (provider == "anthropic")


def test_N3_explain_shows_where_the_model_is_asked_and_which_of_its_tools_are_on(
    project: Project, tmp_path: Path
) -> None:
    project.write(EXPERT, provider='model = "m"\n[provider]\nproviderName = "anthropic"\n')
    shown = project.perstack("explain", "demo", env={"ANTHROPIC_BASE_URL": "https://models.example.com"})
    assert shown.exit_code == 0
    assert "asked at models.example.com" in shown.stdout
    for name in ("webSearch", "providerSkills"):
        assert f"{name}: off, it reaches the network past the sandbox" in shown.stdout, "docker is the default runtime"


def test_W_09_a_skill_of_the_vendors_that_cannot_be_named_to_it_is_refused(project: Project) -> None:
    skill = '{ type = "custom", name = "own", definition = "{}" }'
    project.write(EXPERT.replace('{ type = "builtin", skillId = "pdf" }', skill))
    refused = project.perstack("check")
    assert refused.exit_code == 1
    assert "names no skill of the vendor" in refused.stdout + refused.stderr
    project.write(
        EXPERT.replace('{ type = "builtin", skillId = "pdf" }', skill.replace('"{}"', '\'{"skill_id": "s"}\''))
    )
    assert project.perstack("check").exit_code == 0
