"""Budgets of a whole job, and room in the model's window."""

from __future__ import annotations

import time

import pytest
from perstack.messages import Usage
from perstack.testing.model_server import Call, Gate, ModelServer, Stall, Turn
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.project import Project

LOOK = (Call("listDirectory", {"path": "."}),)
KNOWN_WINDOW = 'model = "gpt-5-chat-latest"\n[provider]\nproviderName = "openai"\n'
DEMO = '[experts.demo]\ninstruction = "You are the demo Expert."\n'


def test_W_32_a_job_stops_when_its_tokens_are_used_up(project: Project) -> None:
    spent = Usage(input_tokens=90, output_tokens=10, total_tokens=100)
    with ModelServer([Turn(calls=LOOK, usage=spent, times=None)]) as server:
        result = project.run("demo", "Go.", "--max-tokens", "250", server=server)
    assert result.exit_code == 3
    assert len(server.requests) == 3
    assert result.values("stopRunByBudget", "budget") == ("tokens",)


def test_AX9_a_job_stops_when_its_time_is_up_whatever_it_does(project: Project) -> None:
    gate = Gate()
    with ModelServer([Turn(text="late", fault=Stall(gate=gate))]) as server:
        started = time.monotonic()
        result = project.run("demo", "Go.", "--max-duration", "700", server=server)
        seconds = time.monotonic() - started
        gate.open()
    assert result.exit_code == 3
    assert result.values("stopRunByBudget", "budget") == ("time",)
    assert seconds < 20


@pytest.mark.parametrize(
    ("option", "value", "key"),
    [
        ("--max-steps", "1", ""),
        ("--max-tokens", "10", ""),
        ("--max-duration", "1", ""),
        ("--max-cost", "0.000001", "[models.scripted]\nprices = { input = 1.0, output = 4.0 }\n"),
    ],
)
def test_a_person_is_told_the_option_of_the_budget_that_is_used_up(
    project: Project, option: str, value: str, key: str
) -> None:
    project.write(key + DEMO)
    with ModelServer([Turn(calls=LOOK, times=None)]) as server:
        result = project.run("demo", "Go.", option, value, "--output", "text", server=server)
    assert result.exit_code == 3
    assert f"{option} " in result.stderr.splitlines()[-2], result.stderr


def test_W_30_the_use_of_the_window_is_that_of_the_newest_request(project: Project) -> None:
    project.write(DEMO, provider=KNOWN_WINDOW)
    used = Usage(input_tokens=12_000, output_tokens=800, total_tokens=12_800)
    with ModelServer([Turn(calls=LOOK, usage=used, times=3), Turn(text="done", usage=used)]) as server:
        result = project.run("demo", "Go.", server=server)
    assert set(result.values("continueToNextStep", "checkpoint", "contextWindowUsage")) == {0.1}


def test_W_42_a_full_window_gives_way_to_a_summary_that_the_model_writes(project: Project) -> None:
    project.write(DEMO, provider=KNOWN_WINDOW)
    full = Usage(input_tokens=120_000, output_tokens=1_000, total_tokens=121_000)

    def model(request: ModelRequest) -> Turn:
        if "You write notes" in request.system:
            assert "tools" not in request.body
            assert "SECRET-FINDING-31" in request.said
            return Turn(text="NOTES-77: the finding is 31")
        asked = len([m for m in request.body["messages"] if m["role"] == "assistant"])
        if "NOTES-77" in str(request.body):
            return Turn(text="done")
        if asked < 5:
            return Turn(text=f"SECRET-FINDING-3{asked}", calls=LOOK)
        return Turn(calls=LOOK, usage=full)

    with ModelServer(model) as server:
        result = project.run("demo", "Go.", server=server)
        last = server.requests[-1]
        resumed = project.run("demo", "More.", "--continue", server=server)
        again = server.requests[-1]
    assert (result.exit_code, result.answer) == (0, "done")
    (dropped,) = result.values("compactConversation", "dropped")
    assert int(str(dropped)) > 0
    roles = [message["role"] for message in last.body["messages"]]
    assert roles[:3] == ["system", "user", "user"]
    assert roles.count("tool") == sum(len(m.get("tool_calls", [])) for m in last.body["messages"])
    assert resumed.exit_code == 0
    assert again.body["messages"][1 : len(roles)] == last.body["messages"][1:], "a resumed run has the same history"


def test_a_job_whose_time_is_up_before_its_skills_are_there_has_an_end_too(project: Project) -> None:
    with ModelServer([Turn(text="done")]) as server:
        result = project.run("demo", "Go.", "--max-duration", "1", server=server)
    assert result.exit_code == 3, result.stderr
    assert result.values("stopRunByBudget", "budget") == ("time",)
