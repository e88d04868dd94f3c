"""The way of a call: unknown names, review, middleware, failures, secrets and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio
import msgspec
import pytest
from perstack.errors import PerstackError, ToolError
from perstack.messages import TextPart, ToolCall, ToolDefinition, text_of
from perstack.protocols import CallOutcome, SkillTool
from perstack.redaction import Redactor
from perstack.specs import MiddlewareSpec, ToolVerdict
from perstack.tools.catalogue import Tool, Toolbox
from perstack.tools.dispatch import DispatchContext, Dispatcher, call_seconds
from perstack.tools.results import bounded
from perstack.tools.review import reduced

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


@dataclass
class Session:
    """A skill that answers with what it was called with, or with a failure."""

    tools: Sequence[SkillTool]
    failure: Exception | None = None
    text: str | None = None
    calls: list[tuple[str, dict]] = field(default_factory=list)
    server_name = server_version = ""

    async def call(self, name, args, *, timeout):
        self.calls.append((name, args))
        if self.failure is not None:
            raise self.failure
        return CallOutcome(contents=(TextPart(text=self.text or f"{name} {args}"),))


@dataclass
class Skill:
    session: Session


@dataclass
class Plugins:
    """What the plugins of a run say."""

    verdicts: tuple[tuple[str, ToolVerdict], ...] = ()
    middleware: tuple[MiddlewareSpec, ...] = ()
    seen: list[tuple[ToolCall, str]] = field(default_factory=list)
    failure: Exception | None = None

    def review(self, call, tool):
        self.seen.append((call, tool.name))
        if self.failure is not None:
            raise self.failure
        return self.verdicts


class Rig:
    """A dispatcher over one skill with one tool, ``say.it``, which the model calls ``say_it``."""

    def __init__(self, *, plugins: Plugins | None = None, secrets: dict | None = None, **more: object) -> None:
        source = SkillTool(name="say.it", description="Says.", input_schema=SCHEMA)
        definition = ToolDefinition(name="say_it", description="Says.", input_schema=SCHEMA)
        tool = Tool(kind="mcp", skill="speech", definition=definition, source=source)
        self.session = Session(tools=[source])
        self.plugins = plugins or Plugins()
        self.reviewed: list[tuple[str, str, str]] = []
        context = DispatchContext(
            expert="tester",
            reviewers=self.plugins,
            redactor=Redactor(secrets or {}),
            reviewed=lambda call, verdict: self.reviewed.append((call.id, verdict.decision, verdict.by)),
            **more,
        )
        self.dispatcher = Dispatcher(Toolbox([tool]), {"speech": Skill(self.session)}, context)

    async def call(self, name: str = "say_it", **args: object):
        return await self.dispatcher.call(ToolCall(id="c1", skill_name="", tool_name=name, args=args))


def verdicts(*pairs: tuple[str, str]) -> Plugins:
    return Plugins(verdicts=tuple((name, ToolVerdict(decision=say, reason=f"{name} says")) for name, say in pairs))


async def test_a_call_reaches_the_skill_under_its_own_name_and_comes_back_under_the_models() -> None:
    rig = Rig()
    result = await rig.call(text="hi")
    assert rig.session.calls == [("say.it", {"text": "hi"})]
    assert (result.id, result.skill_name, result.tool_name, result.is_error) == ("c1", "speech", "say_it", False)


async def test_AM8_W_10_a_tool_that_is_not_there_is_a_result_with_a_suggestion() -> None:
    rig = Rig()
    result = await rig.call("say_i", text="hi")
    assert result.is_error
    assert text_of(result.result) == "There is no tool 'say_i'. Did you mean: say_it."
    assert "There are: say_it" in text_of((await rig.call("qqq")).result)
    assert rig.session.calls == []


async def test_AM9_arguments_that_do_not_fit_are_not_sent() -> None:
    rig = Rig()
    result = await rig.call(text=7)
    assert result.is_error
    assert "text must be string" in text_of(result.result)
    assert rig.session.calls == []


@pytest.mark.parametrize(
    "failure", [ToolError("no luck"), PerstackError("no luck"), RuntimeError("no luck"), KeyError("no luck")]
)
async def test_W_10_every_failure_of_a_skill_is_a_result(failure) -> None:
    rig = Rig()
    rig.session.failure = failure
    result = await rig.call()
    assert result.is_error
    assert "no luck" in text_of(result.result)


@pytest.mark.parametrize("failure", [None, ToolError("no luck")])
async def test_a_result_says_what_was_kept_from_its_skill_also_when_the_call_failed(failure) -> None:
    rig = Rig(blocked=lambda skill: (f"blocked for {skill}",))
    rig.session.failure = failure
    result = await rig.call()
    assert result.is_error is (failure is not None)
    assert text_of(result.result).endswith("blocked for speech")


async def test_cancellation_is_the_only_way_out() -> None:
    rig = Rig()
    with anyio.move_on_after(0.02) as scope:
        rig.session.call = lambda *_, **__: anyio.sleep_forever()  # type: ignore[method-assign]
        await rig.call()
    assert scope.cancelled_caught


# --- review ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "decision", "by"),
    [
        ([], "allow", ""),
        ([("a", "allow")], "allow", "a"),
        ([("a", "allow"), ("b", "ask")], "ask", "b"),
        ([("a", "deny"), ("b", "ask"), ("c", "allow")], "deny", "a"),
        ([("a", "ask"), ("b", "deny"), ("c", "deny")], "deny", "b"),
    ],
)
def test_deny_beats_ask_beats_allow(said, decision, by) -> None:
    verdict = reduced(verdicts(*said).verdicts)
    assert (verdict.decision, verdict.by) == (decision, by)


async def test_AM10_a_denied_call_is_not_sent_and_its_denial_is_recorded() -> None:
    rig = Rig(plugins=verdicts(("guard", "deny"), ("other", "allow")))
    result = await rig.call(text="hi")
    assert result.is_error
    assert text_of(result.result) == "Not executed: denied by guard: guard says"
    assert rig.session.calls == []
    assert rig.reviewed == [("c1", "deny", "guard")]


async def test_AM10_what_needs_asking_is_denied_where_nobody_can_be_asked() -> None:
    rig = Rig(plugins=verdicts(("guard", "ask")))
    result = await rig.call(text="hi")
    assert text_of(result.result).startswith("Not executed: denied by guard: guard says")
    assert "nobody could be asked: this run has no person" in text_of(result.result)
    assert rig.session.calls == []
    assert rig.reviewed == [("c1", "deny", "guard")]


@pytest.mark.parametrize("yes", [True, False])
async def test_AM10_a_person_decides_what_needs_asking(yes) -> None:
    async def person(call, tool, verdict) -> bool:
        return yes

    rig = Rig(plugins=verdicts(("guard", "ask")), approver=person)
    assert (await rig.call(text="hi")).is_error is not yes
    assert bool(rig.session.calls) is yes
    assert rig.reviewed == [("c1", "allow" if yes else "deny", "person")]


async def test_a_review_that_raises_is_a_denial() -> None:
    rig = Rig(plugins=Plugins(failure=RuntimeError("broken guard")))
    result = await rig.call(text="hi")
    assert result.is_error
    assert "broken guard" in text_of(result.result)
    assert rig.session.calls == []


async def test_an_approver_that_raises_is_a_denial() -> None:
    async def broken(call, tool, verdict) -> bool:
        raise RuntimeError("no terminal")

    rig = Rig(plugins=verdicts(("guard", "ask")), approver=broken)
    assert (await rig.call(text="hi")).is_error
    assert rig.session.calls == []


async def test_plugins_see_the_servers_own_name_for_the_tool() -> None:
    rig = Rig()
    await rig.call(text="hi")
    assert [name for _, name in rig.plugins.seen] == ["say.it"]


async def test_calls_of_every_kind_can_be_put_to_review_alone() -> None:
    call = ToolCall(id="c1", skill_name="", tool_name="say_it", args={})
    assert await Rig().dispatcher.admit(call) is None
    assert (await Rig(plugins=verdicts(("guard", "deny"))).dispatcher.admit(call)).is_error


# --- middleware ------------------------------------------------------------------------------------------------------


def layer(name: str, stage: int, order: list[str]) -> MiddlewareSpec:
    async def call(call, rest):
        order.append(f"{name} in")
        result = await rest(call)
        order.append(f"{name} out")
        return result

    return MiddlewareSpec(name=name, call=call, stage=stage)


async def test_middleware_lies_around_the_call_lower_stages_further_out() -> None:
    order: list[str] = []
    rig = Rig(plugins=Plugins(middleware=(layer("inner", 5, order), layer("outer", -5, order))))
    await rig.call()
    assert order == ["outer in", "inner in", "inner out", "outer out"]


async def test_middleware_that_raises_costs_its_call_only() -> None:
    async def broken(call, rest):
        raise ZeroDivisionError

    rig = Rig(plugins=Plugins(middleware=(MiddlewareSpec(name="broken", call=broken),)))
    assert (await rig.call()).is_error


async def test_arguments_that_middleware_changed_are_reviewed_again() -> None:
    async def change(call, rest):
        return await rest(msgspec.structs.replace(call, args={"text": "rm -rf"}))

    rig = Rig(plugins=Plugins(middleware=(MiddlewareSpec(name="change", call=change),)))
    await rig.call(text="hi")
    assert [call.args for call, _ in rig.plugins.seen] == [{"text": "hi"}, {"text": "rm -rf"}]


async def test_middleware_cannot_turn_a_call_into_another() -> None:
    async def other(call, rest):
        return await rest(msgspec.structs.replace(call, tool_name="another"))

    rig = Rig(plugins=Plugins(middleware=(MiddlewareSpec(name="other", call=other),)))
    result = await rig.call()
    assert "not allowed" in text_of(result.result)
    assert result.tool_name == "say_it"
    assert rig.session.calls == []


async def test_a_result_of_middleware_carries_the_calls_own_id() -> None:
    async def forge(call, rest):
        return msgspec.structs.replace(await rest(call), id="forged", tool_name="forged", skill_name="forged")

    result = await Rig(plugins=Plugins(middleware=(MiddlewareSpec(name="forge", call=forge),))).call()
    assert (result.id, result.tool_name, result.skill_name) == ("c1", "say_it", "speech")


# --- results ---------------------------------------------------------------------------------------------------------


async def test_AO3_secrets_are_gone_from_results_and_failures_also_where_the_text_is_cut() -> None:
    secret = "canary-a91b22d0"
    rig = Rig(secrets={"TOKEN": secret}, shorten=partial(bounded, limit=20))
    rig.session.text = f"{'x' * 6}{secret}{'y' * 50}"  # the cut would go through the secret
    shown = text_of((await rig.call()).result)
    assert "canary" not in shown
    rig.session.failure = ToolError(f"bad {secret}")
    assert secret not in text_of((await rig.call()).result)


async def test_AM7_a_long_result_is_cut() -> None:
    rig = Rig(shorten=partial(bounded, limit=100))
    rig.session.text = "x" * 10_000
    assert len(text_of((await rig.call()).result)) < 200


async def test_AM4_a_tool_that_its_server_changed_is_not_called() -> None:
    rig = Rig()
    rig.session.tools = [SkillTool(name="say.it", description="Says more.", input_schema=SCHEMA)]
    result = await rig.call()
    assert "changed or withdrew" in text_of(result.result)
    assert rig.session.calls == []


@pytest.mark.parametrize(
    ("skill", "name", "timeout", "seconds"),
    [
        ("@perstack/base", "exec", 120_000, 300),
        ("@perstack/base", "exec", 600_000, 630),
        ("@perstack/base", "exec", True, 300),
        ("@perstack/base", "other", 600_000, 300),
        ("@perstack/base-foo", "exec", 600_000, 300),
    ],
)
def test_AX4_a_command_may_run_as_long_as_it_was_allowed_to(skill, name, timeout, seconds) -> None:
    source = SkillTool(name=name, description="", input_schema={})
    definition = ToolDefinition(name=name, description="", input_schema={})
    tool = Tool(kind="mcp", skill=skill, definition=definition, source=source)
    assert call_seconds(tool, {"timeout": timeout}, least=300) == seconds
