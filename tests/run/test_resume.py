"""Going on with a job, after every kind of stop."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path

import pytest
from perstack.testing.fake_skill import fake_skill_argv
from perstack.testing.model_server import Call, Gate, ModelServer, Refuse, Stall, Turn
from perstack.testing.project import Project

ASK = """\
[experts.demo]
instruction = "You are the demo Expert."
[experts.demo.skills.person]
type = "interactiveSkill"
[experts.demo.skills.person.tools.askColour]
description = "Ask for a colour."
inputJsonSchema = '{"type": "object", "properties": {"question": {"type": "string"}}}'
[experts.demo.skills.person.tools.askName]
description = "Ask for a name."
inputJsonSchema = '{"type": "object"}'
"""


def conversation(server: ModelServer, index: int = -1) -> list[object]:
    return [message for message in server.requests[index].body["messages"] if message["role"] != "system"]


def test_continue_goes_on_with_the_whole_conversation(project: Project) -> None:
    script = [Turn(calls=[Call("writeTextFile", {"path": "a", "text": "x"})]), Turn(text="first")]
    with ModelServer(script) as server:
        first = project.run("demo", "One.", server=server)
        live = conversation(server)
    with ModelServer([Turn(text="second")]) as server:
        second = project.run("demo", "Two.", "--continue", server=server)
        resumed = conversation(server)
    assert second.job_id == first.job_id
    assert resumed[: len(live)] == live
    assert resumed[-1] == {"role": "user", "content": "Two."}


def test_W_13_a_continued_run_has_an_id_of_its_own_in_all_its_events(project: Project) -> None:
    with ModelServer([Turn(text="a"), Turn(text="b")]) as server:
        first = project.run("demo", "One.", server=server)
        second = project.run("demo", "Two.", "--continue-job", first.job_id, server=server)
    (run_id,) = set(second.values("startRun", "runId"))
    assert run_id not in first.values("startRun", "runId")
    assert second.values("completeRun", "checkpoint", "runId") == (run_id,)


def test_resume_from_a_checkpoint_forgets_what_came_after_it(project: Project) -> None:
    script = [
        Turn(calls=[Call("readTextFile", {"path": "one"})]),
        Turn(calls=[Call("readTextFile", {"path": "two"})]),
        Turn(text="end"),
    ]
    with ModelServer(script) as server:
        first = project.run("demo", "Go.", server=server)
    checkpoint, _ = first.values("continueToNextStep", "checkpoint", "id")
    with ModelServer([Turn(text="again")]) as server:
        second = project.run(
            "demo", "Other way.", "--continue-job", first.job_id, "--resume-from", str(checkpoint), server=server
        )
        said = str(conversation(server))
        assert second.exit_code == 0
        assert "'one'" in said or '"one"' in said
        assert "two" not in said
    with ModelServer([Turn(text="and on")]) as server:
        third = project.run("demo", "More.", "--continue", server=server)
        assert third.exit_code == 0
        assert "Other way." in str(conversation(server))
        assert "two" not in str(conversation(server))


def test_W_17_a_job_that_failed_goes_on_and_its_retries_start_anew(project: Project) -> None:
    with ModelServer([Turn(fault=Refuse(status=503, headers={"Retry-After": "0"}), times=2)]) as server:
        assert project.run("demo", "Go.", "--max-retries", "1", server=server).exit_code == 2
    script = [Turn(fault=Refuse(status=503, headers={"Retry-After": "0"})), Turn(text="fine")]
    with ModelServer(script) as server:
        result = project.run("demo", "Try again.", "--max-retries", "1", "--continue", server=server)
    assert (result.exit_code, result.answer) == (0, "fine")


def test_a_job_at_its_limit_goes_on_only_with_a_larger_one(project: Project) -> None:
    with ModelServer([Turn(calls=[Call("listDirectory", {"path": "."})], times=None)]) as server:
        project.run("demo", "Go.", "--max-steps", "2", server=server)
    with ModelServer([Turn(text="done")]) as server:
        refused = project.run("demo", "More.", "--max-steps", "2", "--continue", server=server)
        assert (refused.exit_code, server.requests) == (1, [])
        assert "--max-steps" in refused.stderr
        assert project.run("demo", "More.", "--max-steps", "3", "--continue", server=server).exit_code == 0


def test_another_experts_job_is_not_continued(project: Project) -> None:
    project.write('[experts.demo]\ninstruction = "d"\n[experts.other]\ninstruction = "o"\n')
    with ModelServer([Turn(text="done")]) as server:
        project.run("demo", "Go.", server=server)
    result = project.run("other", "Go.", "--continue")
    assert result.exit_code == 1
    assert "'demo'" in result.stderr
    assert "'other'" in result.stderr


def test_the_instruction_is_the_configurations_own_after_a_change(project: Project) -> None:
    with ModelServer([Turn(text="done")]) as server:
        project.run("demo", "Go.", server=server)
    project.write('[experts.demo]\ninstruction = "You are someone new."\n')
    with ModelServer([Turn(text="done")]) as server:
        project.run("demo", "Go on.", "--continue", server=server)
        systems = [message for message in server.requests[0].body["messages"] if message["role"] == "system"]
    assert len(systems) == 1
    assert "someone new" in str(systems)


def test_an_interactive_call_stops_the_job_with_exit_code_4_and_i_answers_it(project: Project) -> None:
    project.write(ASK)
    with ModelServer([Turn(calls=[Call("askColour", {"question": "Which?"})])]) as server:
        stopped = project.run("demo", "Paint.", server=server)
    assert stopped.exit_code == 4
    (pending,) = stopped.values("stopRunByInteractiveTool", "checkpoint", "pendingToolCalls", "*", "toolName")
    assert pending == "askColour"
    plain = project.run("demo", "blue", "--continue")
    assert plain.exit_code == 1
    assert "-i" in plain.stderr
    with ModelServer([Turn(text="painted")]) as server:
        done = project.run("demo", "blue", "--continue", "-i", server=server)
        assert conversation(server)[-1]["content"] == "blue"  # type: ignore[index]
    assert (done.exit_code, done.answer) == (0, "painted")


def test_W_11_an_answer_goes_to_exactly_the_pending_call_beside_other_calls(project: Project) -> None:
    project.write(ASK)
    calls = [
        Call("listDirectory", {"path": "."}, id="c-mcp"),
        Call("askColour", {}, id="c-colour"),
        Call("askName", {}, id="c-name"),
    ]
    with ModelServer([Turn(calls=calls)]) as server:
        assert project.run("demo", "Go.", server=server).exit_code == 4
    with ModelServer([]) as server:
        named = '{"toolCallId": "c-name", "toolName": "askName", "skillName": "person", "text": "Ada"}'
        again = project.run("demo", named, "--continue", "-i", server=server)
        assert (again.exit_code, server.requests) == (4, [])
    with ModelServer([Turn(text="done")]) as server:
        done = project.run("demo", "blue", "--continue", "-i", server=server)
        answers = {m["tool_call_id"]: m["content"] for m in server.requests[0].body["messages"] if m["role"] == "tool"}
    assert done.exit_code == 0
    assert answers["c-name"] == "Ada"
    assert answers["c-colour"] == "blue"
    assert set(answers) == {"c-mcp", "c-colour", "c-name"}


def test_i_without_a_pending_call_is_an_error(project: Project) -> None:
    with ModelServer([Turn(text="done")]) as server:
        project.run("demo", "Go.", server=server)
    assert project.run("demo", "blue", "--continue", "-i").exit_code == 1


def test_a_job_that_was_killed_in_a_call_goes_on_and_the_call_is_reported_as_interrupted(project: Project) -> None:
    calls = [Call("exec", {"command": "sleep", "args": ["60"]}, id="c-slow"), Call("todo", {}, id="c-fast")]
    with ModelServer([Turn(calls=calls)]) as server:
        process = project.start(*project.run_args("demo", "Go."), server=server)
        assert process.stdout is not None
        lines = iter(process.stdout)
        while '"finishToolExecution"' not in next(lines):
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
    with ModelServer([Turn(text="I looked.")]) as server:
        result = project.run("demo", "Go on.", "--continue", server=server)
        answers = {m["tool_call_id"]: m["content"] for m in server.requests[0].body["messages"] if m["role"] == "tool"}
        roles = [message["role"] for message in server.requests[0].body["messages"]]
    assert (result.exit_code, result.answer) == (0, "I looked.")
    assert "Interrupted" in answers["c-slow"]
    assert "todos" in answers["c-fast"]
    assert roles == ["system", "user", "assistant", "tool", "tool", "user"]


def test_a_delegate_that_was_killed_goes_on_where_it_was(project: Project) -> None:
    project.write("""\
[experts.lead]
instruction = "You are the lead."
delegates = ["helper"]
[experts.helper]
instruction = "You are the helper."
""")
    gate = Gate()
    first = [
        Turn(calls=[Call("helper", {"query": "help"})]),
        Turn(calls=[Call("writeTextFile", {"path": "a", "text": "once"})]),
        Turn(text="never sent", fault=Stall(gate=gate)),
    ]
    with ModelServer(first) as server:
        process = project.start(*project.run_args("lead", "Go."), server=server)
        server.wait_requests(3)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
        gate.open()
    with ModelServer([Turn(text="helped"), Turn(text="done")]) as server:
        result = project.run("lead", "Go on.", "--continue", server=server)
        helper, lead = server.requests
    assert (result.exit_code, result.answer) == (0, "done")
    assert "You are the helper." in helper.system
    assert [m["role"] for m in helper.body["messages"]] == ["system", "user", "assistant", "tool"]
    assert "helped" in str(lead.body["messages"])


@pytest.mark.parametrize("option", ["--continue-job", "--resume-from"])
def test_W_25_AO8_ids_that_are_paths_are_refused(project: Project, option: str) -> None:
    job = ["--continue-job", "x"] if option == "--resume-from" else []
    result = project.run("demo", "Go.", *job, option, "../../etc/passwd")
    assert result.exit_code == 1
    assert "passwd" in result.stderr


@pytest.mark.parametrize("expert", ["lead", "helper"])
def test_W_10_what_was_said_to_a_run_that_was_ended_while_its_skills_started_is_not_lost(
    project: Project, tmp_path: Path, expert: str
) -> None:
    go = tmp_path / "go"
    slow = f"[ -e {go} ] || exec sleep 60; exec {shlex.join(fake_skill_argv())}"
    project.write(f"""\
[experts.lead]
instruction = "You are the lead."
delegates = ["helper"]
[experts.helper]
instruction = "You are the helper."
[experts.{expert}.skills.slow]
type = "mcpStdioSkill"
command = "sh"
args = ["-c", {json.dumps(slow)}]
""")
    ask, query = Turn(calls=[Call("helper", {"query": "Water the rose."})]), "Look after the garden."
    with ModelServer([ask]) as server:
        process = project.start(*project.run_args("lead", query), server=server)
        assert process.stdout is not None
        lines = iter(process.stdout)
        while '"skillStarting"' not in (line := next(lines)) or '"slow"' not in line:
            pass
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    go.touch()
    turns = [Turn(text="watered"), Turn(text="done")]
    with ModelServer(turns if expert == "helper" else [ask, *turns]) as server:
        result = project.run("lead", "Go on.", "--continue", server=server)
        said = {
            request.system.split("You are the ")[1][:4]: conversation(server, request.index)
            for request in server.requests
        }
    assert (result.exit_code, result.answer) == (0, "done")
    assert {"role": "user", "content": "Water the rose."} in said["help"]
    assert said["lead"][0] == {"role": "user", "content": query}


def test_the_command_that_a_stopped_job_names_goes_on_with_that_very_job(project: Project) -> None:
    state = project.directory.parent / "other state"
    config = (project.directory / "perstack.toml").rename(project.directory / "own.toml")
    named = ("--config", str(config), "--state-dir", str(state), "--output", "text")
    with ModelServer([Turn(calls=[Call("todo", {})]), Turn(text="went on")]) as server:
        stopped = project.run("demo", "Go.", *named, "--max-steps", "1", server=server)
        assert stopped.exit_code == 3, stopped.stderr
        _, _, hint = stopped.stderr.partition("Go on with: perstack ")
        words = shlex.split(hint.splitlines()[0].replace("QUERY", "'Go on.'").replace("--max-steps N", "--max-steps 9"))
        done = project.perstack(*words, "--workspace", str(project.workspace), server=server)
    assert (done.exit_code, len(server.requests)) == (0, 2), done.stderr
    assert "went on" in done.stdout
    unknown = project.run("demo", "Go on.", *named, "--continue-job", "none-such")
    assert f"perstack log --state-dir '{state}' --jobs" in unknown.stderr
