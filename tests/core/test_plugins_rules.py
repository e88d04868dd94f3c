"""What plugins say is reduced so that nothing they do, or fail to do, widens what is allowed."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from fake_plugins import install
from perstack.errors import ConfigError, PluginLoadError, PolicyError
from perstack.messages import ToolCall
from perstack.plugins.discovery import discover
from perstack.plugins.manager import load
from perstack.plugins.records import PluginSelection, Status
from perstack.plugins.registry import Registry
from perstack.specs import ConfigContext, EgressTarget, EnvTarget, ToolView

CONTEXT = ConfigContext(path=Path("p/perstack.toml"), directory=Path("p"))
CALL = ToolCall(id="c1", skill_name="s", tool_name="t", args={"path": "a", "deep": {"x": [1]}})
TOOL = ToolView(expert="e", skill="s", name="t", description="", input_schema={})


@pytest.fixture
def registry_of(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(*, require: frozenset[str] = frozenset(), **sources: str) -> Registry:
        for name, source in sources.items():
            install(tmp_path, name, source)
        return load(PluginSelection(require=require), candidates=discover([str(tmp_path)]))

    return make


def env_rule(action: str, name: str) -> str:
    rule = f"EnvRule(action={action!r}, name={name!r}, reason='r')"
    return f"@hookimpl\ndef perstack_env_rules(target):\n    yield {rule}\n"


def test_env_rules_come_with_their_plugins_in_the_order_of_names(registry_of) -> None:
    registry = registry_of(z=env_rule("deny", "Z_*"), a=env_rule("allow", "A"))
    rules = registry.env_rules(EnvTarget(expert="e", skill="s", requested=("A",)))
    assert [(plugin, rule.action, rule.name) for plugin, rule in rules] == [("a", "allow", "A"), ("z", "deny", "Z_*")]


@pytest.mark.parametrize("hook", ["env", "egress"])
def test_a_policy_hook_that_raises_refuses_and_says_who(registry_of, hook) -> None:
    canary = uuid.uuid4().hex
    good = env_rule("deny", "X")
    bad = f"@hookimpl\ndef perstack_{hook}_rules(target):\n    yield from ()\n    raise OSError({canary!r})\n"
    registry = registry_of(good=good, bad=bad)
    ask = {
        "env": lambda: registry.env_rules(EnvTarget(expert="e", skill="s", requested=())),
        "egress": lambda: registry.egress_rules(EgressTarget(expert="e", skill="s", requested=())),
    }
    with pytest.raises(PolicyError, match=canary) as caught:
        ask[hook]()
    assert "'bad'" in str(caught.value)
    other = {"env": "egress", "egress": "env"}[hook]
    assert len(ask[other]()) == (1 if other == "env" else 0)


def test_every_verdict_on_a_call_is_given_with_its_plugin(registry_of) -> None:
    review = "@hookimpl\ndef perstack_review_tool_call({arguments}):\n    return {answer}\n"
    registry = registry_of(
        none=review.format(arguments="", answer="None"),
        ask=review.format(arguments="tool", answer="ToolVerdict(decision='ask', reason=tool.name)"),
        deny=review.format(arguments="call", answer="ToolVerdict(decision='deny', reason=call.args['path'])"),
    )
    verdicts = registry.review(CALL, TOOL)
    assert [(plugin, v.decision, v.reason) for plugin, v in verdicts] == [("ask", "ask", "t"), ("deny", "deny", "a")]


@pytest.mark.parametrize("body", ["raise OSError('no')", "return True", "return 'allow'", "import sys; sys.exit"])
def test_a_review_that_fails_denies_and_one_that_has_no_opinion_does_not(registry_of, body) -> None:
    registry = registry_of(bad=f"@hookimpl\ndef perstack_review_tool_call():\n    {body}\n")
    verdicts = registry.review(CALL, TOOL)
    expected = [] if body.startswith("import") else [("bad", "deny")]
    assert [(plugin, verdict.decision) for plugin, verdict in verdicts] == expected


def test_what_a_review_changes_is_neither_shown_to_the_next_nor_dispatched(registry_of) -> None:
    change = "    call.args['path'] = 'changed'\n    call.args['deep']['x'].append(2)\n"
    tell = "    return ToolVerdict(decision='ask', reason=str(call.args))\n"
    head = "@hookimpl\ndef perstack_review_tool_call(call):\n"
    registry = registry_of(a=head + change + tell, b=head + tell)
    changed, unchanged = (verdict.reason for _, verdict in registry.review(CALL, TOOL))
    assert "changed" in changed
    assert unchanged == str(CALL.args)
    assert CALL.args == {"path": "a", "deep": {"x": [1]}}


CONFIGURE = "@hookimpl\ndef perstack_configure(settings):\n    raise ValueError(settings['acme'])\n"


def test_a_plugin_that_fails_to_configure_takes_no_part(registry_of) -> None:
    hints = "@hookimpl\ndef perstack_error_hints():\n    return [ErrorHint(text='from acme')]\n"
    registry = registry_of(acme=CONFIGURE + hints, other=hints.replace("acme", "other"))
    assert registry.error_hints(Exception()) == ("from acme", "from other")

    configured = registry.configure({"acme": "no such place"})

    assert configured.error_hints(Exception()) == ("from other",)
    [failed] = [record for record in configured.records if record.name == "acme"]
    assert failed.status is Status.FAILED
    assert "no such place" in configured.warnings[0]


def test_a_guard_that_fails_to_configure_stops_the_run(registry_of) -> None:
    registry = registry_of(acme=CONFIGURE + env_rule("deny", "X"))
    with pytest.raises(PluginLoadError, match="no such place"):
        registry.configure({"acme": "no such place"})


def test_a_required_plugin_that_fails_to_configure_stops_the_run(registry_of) -> None:
    registry = registry_of(acme=CONFIGURE, require=frozenset({"acme"}))
    with pytest.raises(PluginLoadError, match="no such place"):
        registry.configure({"acme": "no such place"})


def test_the_first_plugin_that_knows_a_format_reads_it_and_toml_comes_last(registry_of) -> None:
    parse = "import json\n@hookimpl{}\ndef perstack_parse_config(context, data):\n    return {}\n"
    registry = registry_of(
        a=parse.format("", "{'by': 'a'} if data == b'mine' else None"),
        b=parse.format("(tryfirst=True)", "{'by': 'b'} if data == b'mine' else None"),
    )
    assert registry.parse_config(CONTEXT, b"mine") == {"by": "b"}
    assert registry.parse_config(CONTEXT, b"by = 'toml'") == {"by": "toml"}


def test_a_reader_that_raises_is_a_configuration_error_with_its_name(registry_of) -> None:
    registry = registry_of(acme="@hookimpl\ndef perstack_parse_config(data): raise OSError('torn')\n")
    with pytest.raises(ConfigError, match=r"'acme'.*torn"):
        registry.parse_config(CONTEXT, b"")


def test_layers_come_lowest_rank_first_and_a_failure_is_a_configuration_error(registry_of) -> None:
    layer = """
from perstack.skill_policy import Origin
@hookimpl
def perstack_config_layers(context):
    yield ConfigLayer(rank=25, origin=Origin(source="high"), values={})
    yield ConfigLayer(rank=5, origin=Origin(source="low"), values={})
"""
    registry = registry_of(acme=layer)
    assert [str(layer.origin) for layer in registry.config_layers(CONTEXT)] == ["low", "high"]
    bad = registry_of(bad="@hookimpl\ndef perstack_config_layers(): raise OSError('gone')\n")
    with pytest.raises(ConfigError, match="plugin 'bad'"):
        bad.config_layers(CONTEXT)


def test_problems_of_all_plugins_are_found_and_a_failing_one_is_a_problem(registry_of) -> None:
    check = """
from perstack.errors import Problem
@hookimpl
def perstack_check_config(config):
    yield Problem(message=f"{config['maxSteps']} is too much")
"""
    registry = registry_of(a=check, b="@hookimpl\ndef perstack_check_config(): raise OSError('gone')\n")
    messages = [str(problem) for problem in registry.check_config({"maxSteps": 7})]
    assert len(messages) == 2
    assert "7 is too much" in messages[0]
    assert "'b'" in messages[1]


def test_hints_of_plugins_that_fail_are_swallowed(registry_of) -> None:
    good = "@hookimpl\ndef perstack_error_hints(error):\n    return [ErrorHint(text=str(error))]\n"
    registry = registry_of(bad="@hookimpl\ndef perstack_error_hints(): raise OSError\n", good=good)
    assert registry.error_hints(ValueError("look here")) == ("look here",)


def test_middleware_is_sorted_by_stage_and_name_and_sinks_by_plugin(registry_of) -> None:
    source = """
@hookimpl
def perstack_register_tool_middleware():
    return [MiddlewareSpec(name={name!r}, call=print, stage=stage) for stage in (2, 1)]
@hookimpl
def perstack_register_event_sinks():
    return [EventSinkSpec(name={name!r}, summary="s", factory=print)]
"""
    registry = registry_of(b=source.format(name="b"), a=source.format(name="a"))
    assert [(one.stage, one.name) for one in registry.middleware] == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert [one.name for one in registry.sinks] == ["a", "b"]
