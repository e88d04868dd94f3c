"""The loop of one Expert: how calls are served and how a run ends."""

from __future__ import annotations

import json
import re

import pytest
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.project import Project


def test_a_text_answer_completes_the_run_at_once(project: Project) -> None:
    with ModelServer([Turn(text="The answer is 42.")]) as server:
        result = project.run("demo", "What is the answer?", server=server)
    assert (result.exit_code, result.answer) == (0, "The answer is 42.")
    assert len(server.requests) == 1


def test_W_59_an_answer_without_tools_is_streamed_while_it_arrives(project: Project) -> None:
    with ModelServer([Turn(text="piece by piece " * 8)]) as server:
        result = project.run("demo", "Talk.", server=server)
    deltas = [str(event["delta"]) for event in result.of("streamRunResult")]
    assert len(deltas) > 1
    assert "".join(deltas) == result.answer


def test_T3_T14_a_tool_call_takes_effect_in_the_workspace_and_its_result_reaches_the_model(project: Project) -> None:
    script = [Turn(calls=[Call("writeTextFile", {"path": "a.txt", "text": "canary-1f8"})]), Turn(text="done")]
    with ModelServer(script) as server:
        result = project.run("demo", "Write.", server=server)
    assert result.exit_code == 0
    assert (project.workspace / "a.txt").read_text() == "canary-1f8"
    assert "a.txt" in server.requests[1].said


def test_parallel_calls_run_at_the_same_time_and_their_results_keep_call_order(project: Project) -> None:
    slow, fast = ["sleep", "1.5"], ["true"]
    calls = [Call("exec", {"command": argv[0], "args": argv[1:]}) for argv in (slow, fast, slow)]
    with ModelServer([Turn(calls=calls), Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server)
    finished = result.values("finishToolExecution", "toolResult", "id")
    resolved = result.values("resolveToolResults", "toolResults", "*", "id")
    called = result.values("callTools", "toolCalls", "*", "id")
    assert finished[0] == called[1], "the fast call is done while the slow ones still run"
    assert resolved == called
    sent = [message["tool_call_id"] for message in server.requests[1].body["messages"] if message["role"] == "tool"]
    assert sent == list(called)


def test_W_10_AM8_a_hallucinated_tool_is_a_result_that_the_model_sees(project: Project) -> None:
    with ModelServer([Turn(calls=[Call("writeTextfile", {})]), Turn(text="sorry")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 0
    assert "There is no tool 'writeTextfile'" in server.requests[1].said
    assert "writeTextFile" in server.requests[1].said, "the model is told what it may have meant"


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_W_10_AM8_a_hallucinated_name_that_no_vendor_takes_leaves_a_conversation_that_every_vendor_takes(
    project: Project, vendor: str
) -> None:
    names = ["read file", "functions.readTextFile", "", "é\x1b[31m", "n" * 70_000]
    project.write(
        '[experts.demo]\ninstruction = "Go."\n', provider=f'model = "m"\n[provider]\nproviderName = "{vendor}"\n'
    )
    calls = [Call(name, {"path": "a"}) for name in names]
    calls.append(Call("listDirectory", {"path": "."}, id="\x1b" + "i" * 70_000))
    with ModelServer([Turn(calls=calls), Turn(text="sorry"), Turn(text="again")]) as server:
        result = project.run("demo", "Go.", server=server)
        resumed = project.run("demo", "Go on.", "--continue", server=server)
        _, second, third = server.requests
    assert (result.answer, resumed.answer) == ("sorry", "again")
    for request in (second, third):
        sent = json.dumps(request.body["messages"])
        assert len(sent) < 20_000
        spoken = re.findall(r'"name": "([^"]*)"', sent)
        assert len(spoken) == len(calls)
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", name) for name in spoken), spoken
        assert "readTextFile" in sent, "the model is told what there is"
    assert result.tool_results["listDirectory"].startswith("{"), "the control: the real tool ran"


def test_W_10_arguments_that_are_no_object_are_a_result_that_the_model_sees(project: Project) -> None:
    with ModelServer([Turn(calls=[Call("readTextFile", '{"path": ')]), Turn(text="sorry")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 0
    assert "not a JSON object" in server.requests[1].said


def test_tool_failures_are_marked_as_errors_and_the_run_goes_on(project: Project) -> None:
    with ModelServer([Turn(calls=[Call("readTextFile", {"path": "missing.txt"})]), Turn(text="not there")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.values("finishToolExecution", "toolResult", "isError") == (True,)
    assert result.answer == "not there"


def test_attempt_completion_with_a_result_ends_the_run_without_another_request(project: Project) -> None:
    with ModelServer([Turn(calls=[Call("attemptCompletion", {"result": "All done."})])]) as server:
        result = project.run("demo", "Go.", server=server)
    assert (result.exit_code, result.answer) == (0, "All done.")
    assert len(server.requests) == 1


def test_attempt_completion_without_a_result_ends_with_the_text_beside_it(project: Project) -> None:
    with ModelServer([Turn(text="I copied it.", calls=[Call("attemptCompletion", {})])]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.answer == "I copied it."
    assert len(server.requests) == 1


def test_W_12_calls_beside_attempt_completion_are_executed_and_answered(project: Project) -> None:
    calls = [Call("attemptCompletion", {"result": "ok"}), Call("writeTextFile", {"path": "b.txt", "text": "b"})]
    with ModelServer([Turn(calls=calls)]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 0
    assert (project.workspace / "b.txt").read_text() == "b"
    assert len(result.of("finishToolExecution")) == 2


def test_attempt_completion_with_open_todos_does_not_complete(project: Project) -> None:
    script = [
        Turn(calls=[Call("todo", {"newTodos": ["write the file"]})]),
        Turn(calls=[Call("attemptCompletion", {})]),
        Turn(calls=[Call("todo", {"completedTodos": [0]})]),
        Turn(calls=[Call("attemptCompletion", {"result": "now"})]),
    ]
    with ModelServer(script) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.answer == "now"
    assert "write the file" in server.requests[2].said


def test_W_16_an_answer_cut_at_the_output_limit_is_not_a_completion(project: Project) -> None:
    with ModelServer([Turn(text="half an ans", finish="length")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 2
    assert result.values("stopRunByError", "error", "name") == ("OutputTruncated",)


def test_W_16_calls_of_a_cut_answer_are_answered_and_not_executed(project: Project) -> None:
    cut = Turn(calls=[Call("writeTextFile", {"path": "c.txt", "text": "half"})], finish="length")
    with ModelServer([cut, Turn(text="smaller then")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 0
    assert not (project.workspace / "c.txt").exists()
    assert "Not executed" in server.requests[1].said


def test_a_refusal_is_not_a_completion(project: Project) -> None:
    with ModelServer([Turn(text="I will not.", finish="refusal")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 2
    assert result.values("stopRunByError", "error", "name") == ("ModelRefused",)


def test_every_event_is_one_line_of_json_with_the_base_fields(project: Project) -> None:
    with ModelServer([Turn(calls=[Call("listDirectory", {"path": "."})]), Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert len(result.events) == len(result.stdout.splitlines())
    for event in result.events:
        assert {"id", "type", "timestamp", "jobId", "runId"} <= event.keys()
        json.dumps(event)
    order = [event["type"] for event in result.events if event["type"] in COURSE]
    assert order == COURSE


COURSE = [
    "initializeRuntime",
    "skillStarting",
    "skillConnected",
    "startRun",
    "callTools",
    "resolveToolResults",
    "finishToolCall",
    "continueToNextStep",
    "completeRun",
    "skillDisconnected",
]


@pytest.mark.parametrize("count", [40])
def test_many_parallel_calls_all_have_one_result(project: Project, count: int) -> None:
    calls = [Call("writeTextFile", {"path": f"{n}.txt", "text": str(n)}) for n in range(count)]
    with ModelServer([Turn(calls=calls), Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 0
    assert len(result.of("finishToolExecution")) == count
    assert sorted(int(path.stem) for path in project.workspace.iterdir()) == list(range(count))
