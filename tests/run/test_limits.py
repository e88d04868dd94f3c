"""Much of everything: calls at once, steps, bytes. Memory stays flat and nothing is lost."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from conversations import answered_in_order, answers, effects
from perstack.messages import Usage
from perstack.testing.fake_skill import fake_skill_argv
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.project import Project, result_of

SOAK = bool(os.environ.get("PERSTACK_SOAK"))
MIB = 1024 * 1024

FLOOD = """
import json, sys
MIB = b"x" * (1024 * 1024)
for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    head = '{"jsonrpc":"2.0","id":' + json.dumps(request["id"]) + ',"result":'
    if request["method"] == "tools/call":
        sys.stdout.write(head + '{"content":[{"type":"text","text":"')
        sys.stdout.flush()
        for _ in range(request["params"]["arguments"]["mebibytes"]):
            sys.stdout.buffer.write(MIB)
        print('"}]}}', flush=True)
        continue
    result = {"tools": [{"name": "flood", "inputSchema": {"type": "object"}}]}
    if request["method"] == "initialize":
        version = request["params"]["protocolVersion"]
        info = {"name": "flood", "version": "1"}
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    print(head + json.dumps(result) + "}", flush=True)
"""


def skill(name: str, argv: tuple[str, ...]) -> str:
    command, *args = argv
    return (
        f'[experts.demo]\ninstruction = "Work."\n[experts.demo.skills.{name}]\ntype = "mcpStdioSkill"\n'
        f"command = {json.dumps(command)}\nargs = {json.dumps(args)}\n"
    )


def resident(pid: int) -> int:
    """Bytes of memory that the process has now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


MANY = 1000


def test_W_10_a_thousand_calls_of_one_answer_each_take_effect_once_and_are_answered_in_order(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    project = Project(tmp_path, skill("counted", fake_skill_argv("--log", str(log), "--tools", "echo")))
    texts = [f"text-{number}" for number in range(MANY)]
    results: list[str] = []

    def model(request: ModelRequest) -> Turn:
        if not answers(request):
            return Turn(calls=[Call("echo", {"text": text}) for text in texts], piece=200)
        results.extend(request.tool_results)
        return Turn(text="done")

    with ModelServer(model) as server:
        result = project.run("demo", "Go.", server=server)
        assert (result.exit_code, result.answer) == (0, "done"), result.stderr
        assert all(answered_in_order(request) for request in server.requests)
    assert [text in answer.split() for text, answer in zip(texts, results, strict=True)] == [True] * MANY
    assert len(effects(log)) == MANY
    assert set(effects(log).values()) == {1}


WINDOW = "[models.scripted]\ncontextWindow = 16000\n"
"""Small enough that older messages give way to summaries many times."""


class Marathon:
    """Takes `steps` steps, sums up when it is asked to, and measures who asks at every tenth part of the way."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.taken = 0
        self.summaries = 0
        self.sizes: list[int] = []
        self.pid = 0

    def __call__(self, request: ModelRequest) -> Turn:
        usage = Usage(input_tokens=len(json.dumps(request.body)) // 4, output_tokens=5)
        if not request.tool_names:
            self.summaries += 1
            return Turn(text="So far nothing happened.", usage=usage)
        self.taken += 1
        if self.taken % (self.steps // 10) == 0:
            self.sizes.append(resident(self.pid))
        return Turn(calls=[Call("todo", {})], usage=usage) if self.taken < self.steps else Turn(text="arrived")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory from /proc")
def test_W_39_W_42_memory_stays_flat_and_disk_grows_with_the_work(project: Project) -> None:
    steps = 10_000 if SOAK else 400
    project.write(f'[experts.demo]\ninstruction = "Walk."\n{WINDOW}')
    model = Marathon(steps)
    options = ("--max-steps", str(2 * steps), "--output", "text")
    with ModelServer(model) as server:
        process = project.start(*project.run_args("demo", "Go.", *options), server=server)
        model.pid = process.pid
        stdout, stderr = process.communicate(timeout=3600 if SOAK else 120)
    assert (process.returncode, stdout.strip()) == (0, "arrived"), stderr[-500:]
    assert model.summaries > steps // 200, "the control: the window was full again and again"
    assert model.sizes[-1] - model.sizes[1] < 8 * MIB, model.sizes
    disk = sum(path.stat().st_size for path in project.state.rglob("*") if path.is_file())
    assert disk < 100_000 + steps * 4000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory from /proc")
@pytest.mark.parametrize("mebibytes", [64, 1024])
def test_AM6_a_result_beyond_every_limit_is_an_error_and_takes_no_memory(tmp_path: Path, mebibytes: int) -> None:
    project = Project(tmp_path, skill("flood", (sys.executable, "-I", "-c", FLOOD)))
    sizes: list[int] = []
    pids: list[int] = []

    def model(request: ModelRequest) -> Turn:
        sizes.append(resident(pids[0]))
        if len(sizes) > 1:
            return Turn(text=request.said[-400:])
        return Turn(calls=[Call("flood", {"mebibytes": mebibytes})])

    with ModelServer(model) as server:
        process = project.start(*project.run_args("demo", "Go."), server=server)
        pids.append(process.pid)
        stdout, stderr = process.communicate(timeout=60)
    result = result_of(process.returncode, stdout, stderr)
    assert result.exit_code == 0, stderr
    assert result.values("finishToolExecution", "toolResult", "isError") == (True,)
    assert "longer than" in result.answer, result.answer
    assert sizes[1] - sizes[0] < 48 * MIB, sizes
