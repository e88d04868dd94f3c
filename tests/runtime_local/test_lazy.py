"""Lazy skills: they start with their first call, and what goes wrong then is that call's."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import replace

import pytest
from perstack.errors import SkillError, ToolError
from perstack.events import SkillConnected, SkillNotice, SkillStarting
from perstack.messages import text_of
from perstack.sandbox.known_tools import known_tools, policy_digest
from perstack.sandbox.lazy import MAX_STARTS
from perstack.sandbox.lease import open_skills
from perstack.skill_policy import EgressGrant, Origin
from perstack.testing.fake_skill import fake_skill_argv
from skills import BASE_ENV, Events, lease_context, policy

FLAKY = "import os,sys\nif os.path.exists(sys.argv[1]): sys.exit(7)\nos.execv(sys.argv[2], sys.argv[2:])"


def lazy(argv: tuple[str, ...], **more: object):
    return policy("fake", argv, lazy=True, **more)


async def run(directory, skill, *calls, events):
    """What each call gives, or the error that it raises."""
    context = replace(lease_context(directory, events), known=known_tools(directory))
    results = []
    async with open_skills([skill], env={skill.skill: BASE_ENV}, context=context) as skills:
        session = skills[skill.skill].session
        tools = [tool.name for tool in session.tools]
        for name, args in calls:
            try:
                results.append(text_of((await session.call(name, args, timeout=20)).contents))
            except ToolError as error:
                results.append(error)
    return tools, results


async def test_W_35_the_first_run_learns_the_tools_and_later_ones_start_with_the_first_call(tmp_path) -> None:
    skill, log = lazy(fake_skill_argv("--log", str(tmp_path / "log"))), tmp_path / "log"
    first, second, third = Events(), Events(), Events()
    tools, _ = await run(tmp_path, skill, events=first)
    assert len(first.of(SkillConnected, "skill_name")) == 1
    again, _ = await run(tmp_path, skill, events=second)
    assert again == tools
    assert second.all == [], "nothing was started"
    assert not log.exists()
    _, results = await run(tmp_path, skill, ("counter", {}), ("counter", {}), events=third)
    assert results == ["1", "2"], "one process served both calls"
    assert len(third.of(SkillStarting, "skill_name")) == 1
    assert len({json.loads(line)["pid"] for line in log.read_text().splitlines()}) == 1


async def test_a_skill_that_is_not_lazy_starts_although_its_tools_are_known(tmp_path) -> None:
    skill = policy("fake", fake_skill_argv())
    for _ in range(2):
        events = Events()
        await run(tmp_path, skill, events=events)
        assert len(events.of(SkillConnected, "skill_name")) == 1


async def test_W_35_a_late_start_that_fails_is_that_calls_error_and_the_next_call_tries_again(tmp_path) -> None:
    broken = tmp_path / "broken"
    skill = lazy((sys.executable, "-c", FLAKY, str(broken), *fake_skill_argv()))
    await run(tmp_path, skill, events=Events())
    broken.touch()

    context = replace(lease_context(tmp_path, Events()), known=known_tools(tmp_path))
    async with open_skills([skill], env={"fake": BASE_ENV}, context=context) as skills:
        session = skills["fake"].session
        with pytest.raises(ToolError, match=r"could not be started.*exited with code 7"):
            await session.call("counter", {}, timeout=20)
        broken.unlink()
        assert text_of((await session.call("counter", {}, timeout=20)).contents) == "1"
    broken.touch()
    _, results = await run(tmp_path, skill, *[("counter", {})] * (MAX_STARTS + 1), events=Events())
    assert all(isinstance(result, ToolError) for result in results)
    assert "given up" in str(results[-1])


async def test_a_first_start_that_fails_ends_the_run(tmp_path) -> None:
    with pytest.raises(SkillError):
        await run(tmp_path, lazy((sys.executable, "-c", "raise SystemExit(3)")), events=Events())


async def test_AM4_a_tool_that_changed_before_the_late_start_is_not_called(tmp_path) -> None:
    switch, log = tmp_path / "switch", tmp_path / "log"
    program = (
        "import os,sys\nargv=sys.argv[2:]\nif os.path.exists(sys.argv[1]): argv += ['--tools', 'echo']\n"
        "os.execv(argv[0], argv)"
    )
    skill = lazy((sys.executable, "-c", program, str(switch), *fake_skill_argv("--log", str(log))))
    await run(tmp_path, skill, events=Events())
    switch.touch()
    _, [gone, same] = await run(tmp_path, skill, ("counter", {}), ("echo", {"text": "canary-lz1"}), events=Events())
    assert "changed or withdrew 'counter'" in str(gone)
    assert same == "canary-lz1"
    assert {json.loads(line)["tool"] for line in log.read_text().splitlines()} == {"echo"}
    tools, _ = await run(tmp_path, skill, events=Events())
    assert tools == ["echo"], "the next run knows the new ones"


async def test_AM5_what_lies_in_the_workspace_says_nothing_about_tools(tmp_path) -> None:
    state, workspace = tmp_path / "state", tmp_path / "workspace"
    workspace.mkdir()
    state.mkdir()
    skill = lazy(fake_skill_argv())
    await run(state, skill, events=Events())
    forged = json.dumps([{"name": "evil", "description": "", "input_schema": {}}])
    (workspace / "perstack.lock").write_text(forged)
    (workspace / "tools").mkdir()
    (workspace / "tools" / f"{policy_digest(skill)}.json").write_text(forged)
    tools, _ = await run(state, skill, events=Events())
    assert "evil" not in tools
    assert "echo" in tools
    kept = next((state / "tools").iterdir())
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.write_text(forged)  # the place that does count
    tools, _ = await run(state, skill, events=Events())
    assert tools == ["evil"]


async def test_AM4_tools_that_changed_since_the_last_run_are_told(tmp_path) -> None:
    first, same, other = Events(), Events(), Events()
    skill = policy("fake", fake_skill_argv())
    await run(tmp_path, skill, events=first)
    await run(tmp_path, skill, events=same)
    assert first.of(SkillNotice) == same.of(SkillNotice) == []
    known = known_tools(tmp_path)
    known.keep(skill, [replace(tool, description="Was harmless.") for tool in known.of(skill)])
    await run(tmp_path, skill, events=other)
    (told,) = other.of(SkillNotice)
    assert told.startswith("its tools are not those of the last run: ")
    assert "echo" in told


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b"[1]", b"[" * 100_000, b"\xff"])
async def test_what_is_known_and_cannot_be_read_is_asked_again(tmp_path, content) -> None:
    skill = lazy(fake_skill_argv())
    known = known_tools(tmp_path)
    known.keep(skill, [])
    assert known.of(skill) == ()
    next(known.directory.iterdir()).write_bytes(content)
    assert known.of(skill) is None


def test_another_command_image_domain_or_variable_is_another_skill_and_another_line_is_not() -> None:
    plain = lazy(("a",))
    origin = Origin(source="perstack.toml", line=9)
    others = [
        replace(plain, argv=("b",)),
        replace(plain, image="i"),
        replace(plain, endpoint="https://x.example"),
        replace(plain, egress=(EgressGrant(pattern="x.example", origin=origin),)),
        replace(plain, expert="other"),
    ]
    assert len({policy_digest(one) for one in (plain, *others)}) == len(others) + 1
    assert policy_digest(replace(plain, origin=origin)) == policy_digest(plain)
