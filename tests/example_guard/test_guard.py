"""The example guard, as a person who copies it would test it."""

from __future__ import annotations

import uuid

import pytest
from perstack.errors import PluginLoadError
from perstack.messages import ToolCall
from perstack.plugins.manager import load
from perstack.plugins.registry import Registry
from perstack.specs import EnvTarget, ToolView
from perstack_example_guard.rules import GuardSettings, Rule

TABLE = {
    "denyEnv": ["PROD_*"],
    "deny": [
        {"skill": "@perstack/base", "tool": "delete*", "arguments": {"path": "*.md"}, "reason": "Documents stay."}
    ],
    "ask": [{"tool": "exec", "reason": "It starts a program."}, {"tool": "delete*"}],
}


@pytest.fixture
def registry() -> Registry:
    """The guard, loaded through its real entry point and told its settings as a run tells them."""
    registry = load(names=["example-guard"])
    return registry.configure({"example-guard": registry.setting("example-guard").parse(TABLE)})


def verdict(registry: Registry, tool: str, *, skill: str = "@perstack/base", **arguments: object) -> tuple[str, str]:
    call = ToolCall(id="c", skill_name=skill, tool_name=tool, args=arguments)
    view = ToolView(expert="e", skill=skill, name=tool, description="", input_schema={})
    found = registry.review(call, view)
    return (found[0][1].decision, found[0][1].reason) if found else ("", "")


def test_the_guard_is_active_through_its_entry_point(registry) -> None:
    [record] = [record for record in registry.records if record.name == "example-guard"]
    assert record.active, record.cause
    assert "perstack_review_tool_call" in record.hooks


def test_a_call_that_matches_every_pattern_is_denied_with_the_reason(registry) -> None:
    assert verdict(registry, "deleteFile", path="notes.md") == ("deny", "Documents stay.")


def test_a_call_that_misses_one_pattern_is_not_denied(registry) -> None:
    assert verdict(registry, "deleteFile", path="notes.txt")[0] == "ask"
    assert verdict(registry, "deleteFile")[0] == "ask"
    assert verdict(registry, "deleteFile", skill="other", path="notes.md")[0] == "ask"
    assert verdict(registry, "readFile", path="notes.md") == ("", "")


def test_a_rule_that_asks_asks(registry) -> None:
    assert verdict(registry, "exec", command="ls") == ("ask", "It starts a program.")


def test_an_argument_that_is_no_text_is_matched_as_json() -> None:
    rule = Rule(reason="", arguments={"args": '*"-rf"*'})
    assert rule.matches("s", "t", {"args": ["-rf", "/"]})
    assert not rule.matches("s", "t", {"args": ["-r", "/"]})


def test_no_skill_gets_a_denied_variable(registry) -> None:
    rules = registry.env_rules(EnvTarget(expert="e", skill="s", requested=("PROD_KEY",)))
    assert [(plugin, rule.action, rule.name) for plugin, rule in rules] == [("example-guard", "deny", "PROD_*")]


def test_without_settings_the_guard_has_no_opinion() -> None:
    registry = load(names=["example-guard"]).configure({})
    assert verdict(registry, "deleteFile", path="notes.md") == ("", "")
    assert registry.env_rules(EnvTarget(expert="e", skill="s", requested=())) == ()


CANARY = uuid.uuid4().hex


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({CANARY: []}, CANARY),
        ({"deny": {}}, "deny"),
        ({"deny": ["exec"]}, "deny[0]"),
        ({"ask": [{}, {CANARY: "x"}]}, f"ask[1].{CANARY}"),
        ({"deny": [{"tool": 7}]}, "deny[0].tool"),
        ({"deny": [{"arguments": {"path": 7}}]}, "deny[0].arguments.path"),
        ({"denyEnv": [7]}, "denyEnv"),
    ],
    ids=["unknown", "no-list", "no-table", "unknown-in-rule", "tool", "argument", "variable"],
)
def test_a_setting_that_is_wrong_is_named(table, key) -> None:
    with pytest.raises(ValueError, match=r"must be|unknown") as caught:
        GuardSettings.parse(table)
    assert key in str(caught.value)


def test_a_run_that_requires_the_guard_does_not_start_without_it() -> None:
    from perstack.plugins.records import PluginSelection

    required = frozenset({"example-guard"})
    load(PluginSelection(require=required))
    with pytest.raises(PluginLoadError, match="blocked"):
        load(PluginSelection(require=required, block=required))
