"""Long outputs of tools: shortened for the model, kept whole, read on page by page."""

from __future__ import annotations

import json
import re

import pytest
from perstack.testing.fake_skill import fake_skill_argv
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.project import Project


@pytest.fixture
def lines(project: Project) -> Project:
    """A project whose Expert can have as many numbered lines as it likes."""
    command, *args = fake_skill_argv("--tools", "lines")
    project.write(
        '[experts.demo]\ninstruction = "Read."\n[experts.demo.skills.lines]\ntype = "mcpStdioSkill"\n'
        f"command = {json.dumps(command)}\nargs = {json.dumps(args)}\n"
    )
    return project


KEPT = re.compile(r'readToolOutput\(id=\\*"([0-9a-f]{64})\\*", from=(\d+)\)')


def test_W_42_a_long_output_is_shortened_and_the_model_can_read_the_rest(lines: Project) -> None:
    def model(request: ModelRequest) -> Turn:
        tools = [str(m["content"]) for m in request.body["messages"] if m["role"] == "tool"]
        if not tools:
            return Turn(calls=[Call("lines", {"count": 20_000})])
        if len(tools) == 1:
            found = KEPT.search(tools[0])
            assert found is not None
            assert "line 19999" in tools[0]
            assert "line 8000\n" not in tools[0]
            return Turn(calls=[Call("readToolOutput", {"id": found[1], "from": int(found[2]), "length": 20_000})])
        return Turn(text="found it" if "line 8000\n" in tools[1] else "lost it")

    with ModelServer(model) as server:
        result = lines.run("demo", "Read.", server=server)
        assert len(str(server.requests[1].body)) < 140_000
    assert result.answer == "found it"


def test_an_output_is_read_on_after_the_job_was_continued(lines: Project) -> None:
    with ModelServer([Turn(calls=[Call("lines", {"count": 20_000})]), Turn(text="ok")]) as server:
        lines.run("demo", "Read.", server=server)
        ((name, start),) = KEPT.findall(server.requests[1].said)
    read_on = Call("readToolOutput", {"id": name, "from": int(start)})
    with ModelServer([Turn(calls=[read_on]), Turn(text="ok")]) as server:
        result = lines.run("demo", "Read on.", "--continue", server=server)
        assert "line 8000" in server.requests[1].said
    assert result.exit_code == 0


def test_AO8_only_what_was_kept_can_be_read(project: Project) -> None:
    for name in ("../../journal.jsonl", "0" * 64, ""):
        script = [Turn(calls=[Call("readToolOutput", {"id": name})]), Turn(text="done")]
        with ModelServer(script) as server:
            result = project.run("demo", "Read.", server=server)
            assert "no kept output" in server.requests[1].said
        assert result.values("finishToolExecution", "toolResult", "isError") == (True,)
