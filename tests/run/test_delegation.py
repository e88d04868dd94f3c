"""Delegation: one or many, side by side, what each side sees, and what becomes of failures."""

from __future__ import annotations

import pytest
from perstack.testing.model_server import Call, ModelServer, Refuse, Turn, When
from perstack.testing.project import Project

TEAM = """\
[experts.lead]
instruction = "You are the lead. SECRET-PLAN"
delegates = ["@org/reader", "writer"]
[experts."@org/reader"]
description = "Reads files."
instruction = "You are the reader."
delegates = ["deep"]
[experts.writer]
description = "Writes files."
instruction = "You are the writer."
[experts.deep]
description = "Goes deep."
instruction = "You are the deep one."
"""

LEAD, READER, WRITER, DEEP = (When(system=f"You are the {name}") for name in ("lead", "reader", "writer", "deep one"))


@pytest.fixture
def team(project: Project) -> Project:
    project.write(TEAM)
    return project


def test_a_delegate_answers_and_its_parent_goes_on(team: Project) -> None:
    script = [
        Turn(when=LEAD, calls=[Call("reader", {"query": "What does a.txt say?"})]),
        Turn(when=READER, text="It says hello."),
        Turn(when=LEAD, text="hello it is"),
    ]
    with ModelServer(script) as server:
        result = team.run("lead", "Find out.", server=server)
    assert (result.exit_code, result.answer) == (0, "hello it is")
    assert "It says hello." in server.requests[2].said


def test_a_delegate_sees_its_query_alone_and_the_parent_sees_its_description_alone(team: Project) -> None:
    script = [
        Turn(when=LEAD, calls=[Call("reader", {"query": "QUERY-7c1"})]),
        Turn(when=READER, text="ok"),
        Turn(when=LEAD, text="done"),
    ]
    with ModelServer(script) as server:
        team.run("lead", "TASK-9d2", server=server)
    lead, reader, _ = (str(request.body) for request in server.requests)
    assert "QUERY-7c1" in reader
    assert "TASK-9d2" not in reader
    assert "SECRET-PLAN" not in reader
    assert "Reads files." in lead
    assert "You are the reader" not in lead


def test_parallel_delegates_run_at_the_same_time_and_answer_in_call_order(team: Project) -> None:
    calls = [Call("reader", {"query": "read"}), Call("writer", {"query": "write"})]
    script = [
        Turn(when=LEAD, calls=calls),
        Turn(when=READER, calls=[Call("exec", {"command": "sleep", "args": ["0.5"]})]),
        Turn(when=WRITER, calls=[Call("exec", {"command": "sleep", "args": ["0.5"]})]),
        Turn(when=READER, text="READ"),
        Turn(when=WRITER, text="WRITTEN"),
        Turn(when=LEAD, text="done"),
    ]
    with ModelServer(script) as server:
        result = team.run("lead", "Both.", server=server)
    assert result.exit_code == 0
    assert len(result.of("completeRun")) == 3
    finished = {str(event["expertKey"]): int(str(event["timestamp"])) for event in result.of("finishToolExecution")}
    started = {str(event["expertKey"]): int(str(event["timestamp"])) for event in result.of("callTools")}
    assert max(started["@org/reader"], started["writer"]) < min(finished["@org/reader"], finished["writer"])
    tools = [m["content"] for m in server.requests[-1].body["messages"] if m["role"] == "tool"]
    assert tools == ["READ", "WRITTEN"]


def test_W_08_a_delegate_of_a_delegate_answers_its_own_parent(team: Project) -> None:
    script = [
        Turn(when=LEAD, calls=[Call("reader", {"query": "r"}), Call("writer", {"query": "w"})]),
        Turn(when=READER, calls=[Call("deep", {"query": "d"})]),
        Turn(when=WRITER, text="from the writer"),
        Turn(when=DEEP, text="from the deep"),
        Turn(when=READER, text="from the reader"),
        Turn(when=LEAD, text="done"),
    ]
    with ModelServer(script) as server:
        result = team.run("lead", "Go.", server=server)
    assert result.exit_code == 0
    tools = [m["content"] for m in server.requests[-1].body["messages"] if m["role"] == "tool"]
    assert tools == ["from the reader", "from the writer"]


def test_the_events_of_a_chain_keep_their_order(team: Project) -> None:
    script = [
        Turn(when=LEAD, calls=[Call("reader", {"query": "r"})]),
        Turn(when=READER, calls=[Call("deep", {"query": "d"})]),
        Turn(when=DEEP, text="deep"),
        Turn(when=READER, text="read"),
        Turn(when=LEAD, text="done"),
    ]
    with ModelServer(script) as server:
        result = team.run("lead", "Go.", server=server)
    course = [
        (event["expertKey"], event["type"])
        for event in result.of("startRun", "callDelegate", "stopRunByDelegate", "completeRun", "retry")
    ]
    lead, reader, deep = "lead", "@org/reader", "deep"
    assert course == [
        (lead, "startRun"),
        (lead, "callDelegate"),
        (lead, "stopRunByDelegate"),
        (reader, "startRun"),
        (reader, "callDelegate"),
        (reader, "stopRunByDelegate"),
        (deep, "startRun"),
        (deep, "completeRun"),
        (reader, "startRun"),
        (reader, "completeRun"),
        (lead, "startRun"),
        (lead, "completeRun"),
    ]


def test_W_07_a_delegate_that_fails_is_a_result_for_its_parent(team: Project) -> None:
    script = [
        Turn(when=LEAD, calls=[Call("reader", {"query": "r"}), Call("writer", {"query": "w"})]),
        Turn(when=READER, fault=Refuse(status=400, message="no such thing"), times=None),
        Turn(when=WRITER, text="written"),
        Turn(when=LEAD, text="half done"),
    ]
    with ModelServer(script) as server:
        result = team.run("lead", "Go.", server=server)
    assert (result.exit_code, result.answer) == (0, "half done")
    failed, fine = [m["content"] for m in server.requests[-1].body["messages"] if m["role"] == "tool"]
    assert "'@org/reader' stopped" in failed
    assert fine == "written"


def test_W_10_a_delegation_without_a_query_is_a_result_that_the_model_sees(team: Project) -> None:
    with ModelServer([Turn(when=LEAD, calls=[Call("reader", {})]), Turn(when=LEAD, text="oh")]) as server:
        result = team.run("lead", "Go.", server=server)
    assert result.exit_code == 0
    assert "query" in server.requests[-1].said


def test_AM13_an_expert_that_waits_for_an_answer_cannot_be_asked_for_it(project: Project) -> None:
    project.write("""\
[experts.a]
instruction = "You are the lead."
delegates = ["b"]
[experts.b]
instruction = "You are the reader."
delegates = ["a"]
""")
    script = [
        Turn(when=LEAD, calls=[Call("b", {"query": "ask a"})]),
        Turn(when=READER, calls=[Call("a", {"query": "ask b"})]),
        Turn(when=READER, text="a is busy"),
        Turn(when=LEAD, text="done"),
    ]
    with ModelServer(script) as server:
        result = project.run("a", "Go.", server=server)
    assert (result.exit_code, result.answer) == (0, "done")
    assert "waiting for this very answer" in server.requests[2].said


def test_W_05_AM11_a_delegate_has_todos_of_its_own(team: Project) -> None:
    script = [
        Turn(when=LEAD, calls=[Call("todo", {"newTodos": ["TODO-OF-THE-LEAD"]})]),
        Turn(when=LEAD, calls=[Call("writer", {"query": "w"})]),
        Turn(when=WRITER, calls=[Call("todo", {})]),
        Turn(when=WRITER, calls=[Call("attemptCompletion", {"result": "written"})]),
        Turn(when=LEAD, calls=[Call("todo", {})]),
        Turn(when=LEAD, text="done"),
    ]
    with ModelServer(script) as server:
        result = team.run("lead", "Go.", server=server)
    assert result.exit_code == 0
    assert "TODO-OF-THE-LEAD" not in str(server.requests[3].body)
    assert "TODO-OF-THE-LEAD" in server.requests[5].said, "W-37: the parent's skills stayed up with their state"


def test_W_32_T17_steps_are_counted_over_the_whole_job_and_the_limit_is_exact(team: Project) -> None:
    more = [Call("listDirectory", {"path": "."})]
    script = [
        Turn(when=LEAD, calls=[Call("reader", {"query": "r"}), Call("writer", {"query": "w"})]),
        Turn(when=READER, calls=more, times=None),
        Turn(when=WRITER, calls=more, times=None),
        Turn(when=LEAD, calls=more, times=None),
    ]
    with ModelServer(script) as server:
        result = team.run("lead", "Never stop.", "--max-steps", "7", server=server)
    assert len(server.requests) == 7
    assert result.exit_code == 3
    assert sorted(int(str(n)) for n in result.values("startGeneration", "stepNumber")) == list(range(1, 8))
    last = result.of("stopRunByExceededMaxSteps")[-1]
    assert last["expertKey"] == "lead"
