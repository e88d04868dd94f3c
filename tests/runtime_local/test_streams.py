"""What a hostile skill writes reaches neither the protocol, nor a terminal, nor the journal's size unchecked."""

from __future__ import annotations

import time

import pytest
from perstack.errors import SkillError, ToolError
from perstack.events import SkillConnected, SkillStarting, SkillStderr, SkillViolation
from perstack.sandbox.lease import open_skills
from perstack.sandbox.throttle import BURST_LINES
from perstack.testing.probe import probe_argv
from perstack.testing.waiting import eventually_async
from skills import Events, Registry, ask, lease_context, opened, policy, probed, runs

TIMEOUT = 20.0


async def test_AO2_lines_of_standard_error_are_events_in_safe_words(tmp_path) -> None:
    events = Events()
    async with probed(tmp_path, events=events) as session:
        await ask(session, "stderr", text="\x1b]52;c;ZXZpbA==\x07\u202e\x9b31m\rhidden\n")
        await eventually_async(lambda: events.of(SkillStderr) != [], "the line arrives")
    assert events.of(SkillStderr) == ["\\x1b]52;c;ZXZpbA==\\x07\\u202e\\x9b31m\\x0dhidden"]


async def test_AO4_a_flood_on_standard_error_is_cut_with_a_count(tmp_path) -> None:
    events = Events()
    async with probed(tmp_path, events=events) as session:
        await ask(session, "stderr", text="x\n", times=50_000)
        assert await ask(session, "identity")  # and the skill still answers
    lines = events.of(SkillStderr)
    counts = [int(line.split()[1]) for line in lines if line.endswith("lines suppressed")]
    shown = len(lines) - len(counts)
    assert BURST_LINES <= shown < 2 * BURST_LINES
    assert shown + sum(counts) == 50_000


async def test_AO4_a_line_of_standard_error_without_end_is_cut(tmp_path) -> None:
    events = Events()
    async with probed(tmp_path, events=events) as session:
        await ask(session, "stderr", text="x" * 1000, times=20_000)
        await ask(session, "stderr", text="\nafter\n")
        await eventually_async(lambda: "after" in events.of(SkillStderr), "the next line arrives")
    assert [len(line) < 10_000 for line in events.of(SkillStderr)] == [True, True]


async def test_AM6_a_server_that_prints_before_its_first_message_connects_all_the_same(tmp_path) -> None:
    events = Events()
    async with probed(tmp_path, "--start", "garbage", events=events) as session:
        assert await ask(session, "identity")
    violations = events.of(SkillViolation)
    assert len(violations) == 5
    assert "Listening on port 8080" in violations[0]
    assert "\x1b" not in "".join(violations)


@pytest.mark.parametrize("how", ["wrong-id", "text-id", "giant", "deep", "both", "no-object"])
async def test_AM6_a_bad_answer_of_a_real_server_is_a_tool_error_and_the_next_call_works(tmp_path, how) -> None:
    events = Events()
    async with probed(tmp_path, events=events) as session:
        if how in {"wrong-id", "text-id"}:  # the bad answer is followed by a good one
            await session.call("answer", {"how": how}, timeout=TIMEOUT)
        else:
            with pytest.raises(ToolError):
                await session.call("answer", {"how": how}, timeout=TIMEOUT)
        assert await ask(session, "identity")
    assert len(events.of(SkillViolation)) >= 1


async def test_AM6_a_server_that_only_makes_noise_is_ended(tmp_path) -> None:
    async with opened(tmp_path, policy("probe", probe_argv())) as skills:
        pid = (await ask(skills["probe"].session, "identity"))["pid"]
        with pytest.raises(ToolError, match="broke the protocol 1000 times"):
            await skills["probe"].session.call("raw", {"text": "noise\n", "times": 1_000_000}, timeout=TIMEOUT)
        await eventually_async(lambda: not runs(pid), "the server ends")


async def test_W_10_a_crash_in_the_middle_of_an_answer_is_a_tool_error(tmp_path) -> None:
    async with opened(tmp_path, policy("probe", probe_argv()), policy("other", probe_argv())) as skills:
        with pytest.raises(ToolError, match="gone"):
            await skills["probe"].session.call("answer", {"how": "half"}, timeout=TIMEOUT)
        await eventually_async(lambda: skills["probe"].closed is not None, "the end is noticed")
        assert await ask(skills["other"].session, "identity")  # the others go on


async def test_W_10_a_server_that_hangs_costs_one_call_and_its_tree_still_ends(tmp_path) -> None:
    async with probed(tmp_path) as session:
        with pytest.raises(ToolError, match=r"did not answer within 0\.2 s"):
            await session.call("hang", {}, timeout=0.2)


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("crash", r"exited with code 7"),
        ("hang", "did not answer within 1 s"),
        ("old-version", "1999-12-31"),
        ("endless-pages", "more than 100 pages"),
        ("many-tools", "more than 1000 tools"),
    ],
)
async def test_AM6_a_server_that_does_not_come_up_is_an_error_that_says_why(tmp_path, start, reason) -> None:
    context = lease_context(tmp_path, Events(), registry=Registry(handshake_seconds=1 if start == "hang" else TIMEOUT))
    with pytest.raises(SkillError, match=reason):
        async with open_skills([policy("probe", probe_argv("--start", start))], env={}, context=context):
            pass


async def test_an_error_repeats_the_last_words_of_a_server(tmp_path) -> None:
    with pytest.raises(SkillError) as caught:
        async with opened(tmp_path, policy("tool", ("sh", "-c", "echo 'no such \033[31mpackage' >&2; exit 4"))):
            pass
    assert "exited with code 4" in str(caught.value)
    assert caught.value.hint == "Its last words: no such \\x1b[31mpackage"


async def test_one_skill_that_fails_ends_the_start_of_all_at_once(tmp_path) -> None:
    context = lease_context(tmp_path, Events())
    hanging, crashing = policy("hanging", probe_argv("--start", "hang")), policy("crashing", ("false",))
    began = time.monotonic()
    with pytest.raises(SkillError, match="'crashing'"):
        async with open_skills([hanging, crashing], env={}, context=context):
            pass
    assert time.monotonic() - began < TIMEOUT / 2


async def test_skills_start_at_the_same_time(tmp_path) -> None:
    events = Events()
    async with opened(tmp_path, *(policy(f"skill{n}", probe_argv()) for n in range(3)), events=events):
        kinds = [type(event) for event in events.all if isinstance(event, SkillStarting | SkillConnected)]
    assert kinds == [SkillStarting] * 3 + [SkillConnected] * 3


async def test_io_ten_mib_pass_both_ways_unchanged(tmp_path) -> None:
    text = "0123456789abcdef" * (10 * 1024 * 1024 // 16)
    async with probed(tmp_path) as session:
        assert await ask(session, "answer", text=text) == {"text": text}
