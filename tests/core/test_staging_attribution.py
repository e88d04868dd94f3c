"""Which tool call changed what in a copy, however calls run beside one another."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest
from perstack.messages import ToolCall, ToolResult
from perstack.staging.attribution import Attribution, attributed
from perstack.staging.copies import About, Copies, StagedCopy, sandbox_owner

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sandboxes with copies are POSIX")


@pytest.fixture
def copy(tmp_path: Path) -> StagedCopy:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "there").write_text("as it was")
    about = About(id="job", job="job", workspace=str(workspace), purpose="overlay")
    return Copies(tmp_path / "state").make(about, sandbox_owner(workspace))


def call(name: str) -> ToolCall:
    return ToolCall(id=name, skill_name="files", tool_name="write", args={})


def result(one: ToolCall) -> ToolResult:
    return ToolResult(id=one.id, skill_name=one.skill_name, tool_name=one.tool_name, result=())


def calls_of(copy: StagedCopy) -> dict[str, list[str]]:
    return {path: sorted(ref.id for ref in refs) for path, refs in attributed(copy.calls).items()}


async def test_calls_one_after_the_other_each_have_their_own_changes(copy) -> None:
    watch = Attribution(copy)

    async def send(one: ToolCall) -> ToolResult:
        (copy.workspace / one.id).write_text("x")
        if one.id == "second":
            (copy.workspace / "there").unlink()
        return result(one)

    for name in ("first", "second"):
        await watch.call(call(name), send, expert="writer")
    (copy.workspace / "late").write_text("by what a call left running")
    await watch.finish()
    assert calls_of(copy) == {"first": ["first"], "second": ["second"], "there": ["second"], "late": []}
    assert {ref[:3] for refs in attributed(copy.calls).values() for ref in refs} == {("writer", "files", "write")}


async def test_calls_that_were_in_flight_together_share_what_changed_and_later_ones_do_not(copy) -> None:
    watch = Attribution(copy)
    go_on, written = anyio.Event(), anyio.Event()

    async def slow(one: ToolCall) -> ToolResult:
        (copy.workspace / "early").write_text("x")
        written.set()
        await go_on.wait()
        (copy.workspace / "after").write_text("x")
        return result(one)

    async def quick(one: ToolCall) -> ToolResult:
        await written.wait()
        return result(one)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: watch.call(call("slow"), slow, expert="e"))
        await watch.call(call("quick"), quick, expert="e")
        go_on.set()
    assert calls_of(copy) == {"early": ["quick", "slow"], "after": ["slow"]}


async def test_a_hundred_calls_that_end_together_are_looked_after_in_a_few_looks(copy, monkeypatch) -> None:
    watch = Attribution(copy)
    looks = []
    real = copy.scan
    monkeypatch.setattr(copy, "scan", lambda: looks.append(1) or real())

    async def send(one: ToolCall) -> ToolResult:
        (copy.workspace / one.id).write_text("x")
        return result(one)

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(lambda name=f"{number}": watch.call(call(name), send, expert="e"))
    assert len(looks) < 20
    found = calls_of(copy)
    assert sorted(found) == sorted(f"{number}" for number in range(100))
    assert all(found.values())


async def test_a_cancelled_or_failed_call_has_its_changes_too(copy) -> None:
    watch = Attribution(copy)

    async def fails(one: ToolCall) -> ToolResult:
        (copy.workspace / one.id).write_text("x")
        raise RuntimeError

    async def hangs(one: ToolCall) -> ToolResult:
        (copy.workspace / one.id).write_text("x")
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(RuntimeError):
        await watch.call(call("failed"), fails, expert="e")
    with anyio.move_on_after(0.05):
        await watch.call(call("cancelled"), hangs, expert="e")
    assert calls_of(copy) == {"failed": ["failed"], "cancelled": ["cancelled"]}


def test_a_torn_last_line_is_left_out(copy) -> None:
    copy.calls.write_text('{"calls": [["e", "s", "t", "1"]], "paths": ["a"]}\n{"calls": [["e", "s"')
    assert calls_of(copy) == {"a": ["1"]}
