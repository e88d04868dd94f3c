"""Skills that stay up, and calls that reach them through names, review and results."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import anyio
import pytest
from perstack.errors import ToolError
from perstack.events import SkillDisconnected
from perstack.messages import ImagePart, ToolCall, text_of
from perstack.redaction import Redactor
from perstack.testing.fake_skill import fake_skill_argv
from perstack.testing.probe import probe_argv
from perstack.testing.waiting import eventually_async
from perstack.tools.catalogue import toolbox
from perstack.tools.dispatch import DispatchContext, Dispatcher
from skills import Events, Registry, ask, opened, policy, probed

NO_CONFIG = SimpleNamespace(skills={}, delegates=())


def dispatcher(skills, *, secrets=()) -> Dispatcher:
    tools = toolbox(
        NO_CONFIG, {name: skill.session.tools for name, skill in skills.items()}, experts={}, interactive=False
    )
    redactor = Redactor(dict(secrets))
    return Dispatcher(
        tools, skills, DispatchContext(expert="tester", reviewers=Registry(), redactor=redactor, timeout=10)
    )


def call(tool: str, **args) -> ToolCall:
    return ToolCall(id="call1", skill_name="", tool_name=tool, args=args)


async def test_W_37_a_waiting_parents_skills_stay_up_and_keep_their_state(tmp_path) -> None:
    counting = policy("counter", fake_skill_argv("--tools", "counter"))
    events = Events()
    async with opened(tmp_path, counting, events=events) as parent:
        assert await ask(parent["counter"].session, "counter") == 1
        async with opened(tmp_path, counting) as child:  # a delegate's own sandbox
            assert await ask(child["counter"].session, "counter") == 1
        assert await ask(parent["counter"].session, "counter") == 2
        assert events.of(SkillDisconnected, "reason") == []
    assert events.of(SkillDisconnected, "reason") == [""]


async def test_AM1_W_18_a_path_that_a_server_names_is_text_and_is_never_opened(tmp_path) -> None:
    """The control is the skill's own reading, which shows that the file was there to be read."""
    image = tmp_path / "secret.png"
    image.write_bytes(b"\x89PNG canary")
    async with opened(tmp_path, policy("probe", probe_argv())) as skills:
        serve = dispatcher(skills)
        for tool in ("readImageFile", "readPdfFile"):
            result = await serve.call(call(tool, path=str(image)))
            assert not any(isinstance(part, ImagePart) for part in result.result)
            assert json.loads(text_of(result.result))["path"] == str(image)
            assert "canary" not in text_of(result.result)
        assert "canary" in text_of((await serve.call(call("read", path=str(image)))).result)


async def test_AM4_a_tool_that_changes_while_the_run_goes_on_is_not_called_again(tmp_path) -> None:
    async with opened(tmp_path, policy("probe", probe_argv())) as skills:
        serve, session = dispatcher(skills), skills["probe"].session
        assert not (await serve.call(call("sly"))).is_error
        await serve.call(call("change_tools"))
        await eventually_async(
            lambda: any("IGNORE" in tool.description for tool in session.tools), "the new list is read"
        )
        refused = await serve.call(call("sly"))
        assert refused.is_error
        assert "changed or withdrew" in text_of(refused.result)
        assert not (await serve.call(call("identity"))).is_error


async def test_W_10_a_dead_server_is_a_result_that_the_model_sees(tmp_path) -> None:
    async with opened(tmp_path, policy("probe", probe_argv())) as skills:
        serve = dispatcher(skills)
        for tool in ("crash", "identity"):
            result = await serve.call(call(tool))
            assert result.is_error
            assert "gone" in text_of(result.result)


async def test_AO3_a_secret_that_a_tool_prints_is_redacted_before_it_is_a_result(tmp_path) -> None:
    secret = "canary-4f1d0c9b7a"
    env = {"TOKEN": secret}
    async with opened(tmp_path, policy("probe", probe_argv(), env=env), env=env) as skills:
        shown = await dispatcher(skills, secrets={"TOKEN": secret}).call(call("environment"))
        bare = await dispatcher(skills).call(call("environment"))
    assert secret in text_of(bare.result)
    assert secret not in text_of(shown.result)
    assert "[redacted:TOKEN]" in text_of(shown.result)


async def test_AM6_a_servers_request_for_sampling_is_refused_and_its_call_goes_on(tmp_path) -> None:
    async with probed(tmp_path) as session:
        answer = await ask(session, "ask_client", method="sampling/createMessage")
        roots = await ask(session, "ask_client", method="roots/list")
    assert answer["error"]["code"] == -32601
    assert roots["result"]["roots"][0]["uri"] == tmp_path.as_uri()


async def test_calls_to_one_server_run_at_the_same_time(tmp_path) -> None:
    """Shown by the server's own log: both have begun before either ends."""
    log, release = tmp_path / "log", tmp_path / "release"
    release.mkdir()
    argv = fake_skill_argv("--log", str(log), "--release", str(release))
    results = {}
    async with opened(tmp_path, policy("fake", argv)) as skills:
        serve = dispatcher(skills)

        async def one(name: str) -> None:
            results[name] = await serve.call(call("block", name=name))

        async with anyio.create_task_group() as tasks:
            for name in ("a", "b"):
                tasks.start_soon(one, name)
            await eventually_async(
                lambda: log.exists() and log.read_text().count("start") == 2, "both calls are in flight"
            )
            (release / "b").touch()
            (release / "a").touch()
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events == ["start", "start", "end", "end"]
    assert {name: text_of(result.result) for name, result in results.items()} == {"a": "released a", "b": "released b"}


async def test_a_call_after_the_lease_is_an_error_and_not_a_hang(tmp_path) -> None:
    async with probed(tmp_path) as session:
        pass
    with pytest.raises(ToolError, match="gone"):
        await session.call("identity", {}, timeout=1)


async def test_the_base_skill_connects_and_writes_into_the_workspace(tmp_path) -> None:
    base = policy("@perstack/base", (sys.executable, "-I", "-m", "perstack_skill_base"))
    async with opened(tmp_path, base) as skills:
        serve = dispatcher(skills)
        assert not (await serve.call(call("writeTextFile", path="note.txt", text="hello"))).is_error
    assert (tmp_path / "note.txt").read_text() == "hello"


async def test_a_thousand_calls_at_once_each_have_their_own_answer(tmp_path) -> None:
    async with opened(tmp_path, policy("fake", fake_skill_argv())) as skills:
        serve, answers = dispatcher(skills), {}

        async def one(number: int) -> None:
            answers[number] = text_of((await serve.call(call("echo", text=f"number {number}"))).result)

        async with anyio.create_task_group() as tasks:
            for number in range(1000):
                tasks.start_soon(one, number)
    assert answers == {number: f"number {number}" for number in range(1000)}
