"""Real servers at their worst: killed at each message, a thousand calls at once, a gigabyte for an answer."""

from __future__ import annotations

import resource
import sys

import anyio
import pytest
from perstack.errors import SkillError, ToolError
from perstack.events import SkillDisconnected, SkillViolation
from perstack.messages import text_of
from perstack.testing.fake_skill import fake_skill_argv
from perstack_proxy.limits import RESULT_LINE_BYTES
from skills import Events, opened, policy

REQUESTS = ("initialize", "tools/list", "tools/call")
DEATHS = [
    ("notifications/initialized", "before"),
    *[(when, how) for when in REQUESTS for how in ("before", "half")],
]
"""When the server is killed: before it answers a message, or in the middle of its answer."""
DYING = """
import json, os, signal, sys
when, half = sys.argv[1], sys.argv[2] == "half"
def answer(message, result):
    line = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\\n"
    if message["method"] == when and half:
        sys.stdout.write(line[: len(line) // 2]); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)
    sys.stdout.write(line); sys.stdout.flush()
for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == when and not half:
        os.kill(os.getpid(), signal.SIGKILL)
    if method == "initialize":
        answer(message, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                         "serverInfo": {"name": "dying", "version": "1"}})
    elif method == "tools/list":
        answer(message, {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call":
        answer(message, {"content": [{"type": "text", "text": "alive"}]})
"""
GIGABYTE = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    out = sys.stdout.buffer
    if method == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                  "serverInfo": {"name": "big", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}
    elif method == "tools/call" and message["params"]["arguments"].get("big"):
        out.write(b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"' % message["id"])
        block = b"x" * 1048576
        for _ in range(1024):
            out.write(block)
        out.write(b'"}]}}\\n'); out.flush()
        continue
    elif "id" in message:
        result = {"content": [{"type": "text", "text": "small"}]}
    else:
        continue
    out.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode() + b"\\n"); out.flush()
"""


@pytest.mark.parametrize(("when", "how"), DEATHS, ids=" ".join)
async def test_AM6_a_server_that_is_killed_at_any_message_is_an_error_and_never_a_wait(tmp_path, when, how) -> None:
    dying, fine, events = policy("dying", (sys.executable, "-c", DYING, when, how)), fake_skill_argv(), Events()
    with anyio.fail_after(30):
        if when == "tools/call":
            async with opened(tmp_path, dying, policy("fine", fine), events=events) as skills:
                with pytest.raises(ToolError, match="gone"):
                    await skills["dying"].session.call("t", {}, timeout=60)
                alive = await skills["fine"].session.call("counter", {}, timeout=20)
                assert text_of(alive.contents) == "1", "the others go on"
        else:
            with pytest.raises(SkillError, match=r"'dying'.*ended by signal 9"):
                async with opened(tmp_path, dying, events=events):
                    pass
    assert "dying" in events.of(SkillDisconnected, "skill_name")
    async with opened(tmp_path, policy("dying", (sys.executable, "-c", DYING, "never", how))) as skills:
        assert text_of((await skills["dying"].session.call("t", {}, timeout=20)).contents) == "alive"


async def test_AM6_a_thousand_calls_at_once_to_one_server_each_get_their_own_answer(tmp_path) -> None:
    answers: dict[int, str] = {}
    async with opened(tmp_path, policy("fake", fake_skill_argv())) as skills, anyio.create_task_group() as tasks:
        session = skills["fake"].session

        async def one(number: int) -> None:
            outcome = await session.call("echo", {"text": f"canary-{number}"}, timeout=60)
            answers[number] = text_of(outcome.contents)

        for number in range(1000):
            tasks.start_soon(one, number)
    assert answers == {number: f"canary-{number}" for number in range(1000)}


async def test_AM6_a_result_of_a_gigabyte_is_refused_and_memory_stays_flat(tmp_path) -> None:
    events = Events()
    async with opened(tmp_path, policy("big", (sys.executable, "-c", GIGABYTE)), events=events) as skills:
        session = skills["big"].session
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ToolError, match="unreadable"):
            await session.call("t", {"big": True}, timeout=120)
        assert text_of((await session.call("t", {}, timeout=120)).contents) == "small"
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 3 * RESULT_LINE_BYTES, grown
    assert len(events.of(SkillViolation)) == 1
