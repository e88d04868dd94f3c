"""Who is asked before a tool call, what counts as a yes, and what is remembered."""

from __future__ import annotations

import signal
import sys

import pytest
from at_terminal import at_a_terminal
from conversations import said
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.project import Project

DEMO = '[experts.demo]\ninstruction = "You are the demo Expert."\n'
ASK = '[[approvals]]\ndecision = "ask"\ntool = "writeTextFile"\nreason = "It writes."\n'
WRITE = Turn(calls=[Call("writeTextFile", {"path": "a.txt", "text": "x"})])
QUESTION = """\
[experts.demo.skills.person]
type = "interactiveSkill"
[experts.demo.skills.person.tools.askColour]
description = "Ask for a colour."
inputJsonSchema = '{"type": "object"}'
"""
NAME = """\
[experts.demo.skills.person.tools.askName]
description = "Ask for a name."
inputJsonSchema = '{"type": "object"}'
"""


def test_AM10_what_has_to_be_asked_for_is_denied_without_a_terminal(project: Project) -> None:
    project.write(DEMO + ASK)
    with ModelServer([WRITE, Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server)
        assert "denied" in server.requests[1].said
        assert "It writes." in server.requests[1].said
        assert "no --approve names '@perstack/base:writeTextFile'" in server.requests[1].said
    assert "by person" not in server.requests[1].said, "nobody is made out to have said no"
    assert "person" not in result.values("reviewToolCall", "by")
    assert result.exit_code == 0
    assert not (project.workspace / "a.txt").exists()
    assert result.values("reviewToolCall", "decision") == ("deny",)


def test_AM10_approve_on_the_command_line_lets_exactly_the_named_calls_go(project: Project) -> None:
    project.write(DEMO + ASK)
    with ModelServer([WRITE, Turn(text="done")]) as server:
        result = project.run("demo", "Go.", "--approve", "*:readTextFile", server=server)
    assert result.exit_code == 0
    assert not (project.workspace / "a.txt").exists()
    with ModelServer([WRITE, Turn(text="done")]) as server:
        project.run("demo", "Go.", "--approve", "@perstack/base:writeTextFile", server=server)
    assert (project.workspace / "a.txt").read_text() == "x"


@pytest.mark.parametrize(
    ("rules", "written"),
    [
        pytest.param('[[approvals]]\ndecision = "deny"\nargs = { path = "*.txt" }\n', False, id="argument"),
        pytest.param('[[approvals]]\ndecision = "deny"\nargs = { path = "*.md" }\n', True, id="other argument"),
        pytest.param('[[approvals]]\ndecision = "allow"\ntool = "write*"\n' + ASK, True, id="first that fits"),
        pytest.param('[[approvals]]\ndecision = "deny"\nskill = "other"\n', True, id="other skill"),
    ],
)
def test_AM10_rules_fit_by_skill_tool_and_argument(project: Project, rules: str, *, written: bool) -> None:
    project.write(DEMO + rules)
    with ModelServer([WRITE, Turn(text="done")]) as server:
        assert project.run("demo", "Go.", server=server).exit_code == 0
    assert (project.workspace / "a.txt").exists() is written


def test_AM10_a_projects_allow_does_not_answer_what_the_user_wants_to_be_asked(project: Project) -> None:
    project.write(DEMO + '[[approvals]]\ndecision = "allow"\n')
    own = project.directory.parent / "config" / "perstack"
    own.mkdir(parents=True)
    (own / "config.toml").write_text(ASK)
    with ModelServer([WRITE, Turn(text="done")]) as server:
        assert project.run("demo", "Go.", server=server).exit_code == 0
    assert not (project.workspace / "a.txt").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="setsid --ctty is Linux's")
@pytest.mark.parametrize(("typed", "written", "kept"), [("y", True, False), ("n", False, False), ("a", True, True)])
def test_AM10_the_person_at_the_terminal_decides_for_now_or_for_good(
    project: Project, typed: str, *, written: bool, kept: bool
) -> None:
    project.write(DEMO + ASK)
    with ModelServer([WRITE, Turn(text="done")]) as server:
        code, shown = at_a_terminal(project, server, typed, "[a]lways")
    assert code == 0, shown
    assert "It writes." in shown
    assert (project.workspace / "a.txt").exists() is written
    (project.workspace / "a.txt").unlink(missing_ok=True)
    with ModelServer([WRITE, Turn(text="done")]) as server:
        project.run("demo", "Go.", server=server)
    assert (project.workspace / "a.txt").exists() is kept


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="setsid --ctty is Linux's")
@pytest.mark.parametrize(("toml", "prompt"), [("ask", "[a]lways"), ("question", "Your answer:")])
def test_W_55_ctrl_c_at_a_question_ends_the_run_with_a_checkpoint(project: Project, toml: str, prompt: str) -> None:
    project.write(DEMO + (ASK if toml == "ask" else QUESTION))
    first = WRITE if toml == "ask" else Turn(calls=[Call("askColour", {})])
    with ModelServer([first, Turn(text="done")]) as server:
        code, shown = at_a_terminal(project, server, "\x03", prompt, enter="", seconds=60)
        assert code == 130, shown
        assert "Ended by SIGINT" in shown
        assert len(server.requests) == 1
        resumed = project.run("demo", "Go on.", "--continue", server=server)
        if toml == "question":
            assert resumed.exit_code == 4, "the question is put again"
            resumed = project.run("demo", "blue", "--continue", "-i", server=server)
    assert resumed.exit_code == 0, resumed.stderr
    assert resumed.answer == "done"
    assert not (project.workspace / "a.txt").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="setsid --ctty is Linux's")
def test_W_44_an_experts_question_is_asked_at_the_terminal_at_once(project: Project) -> None:
    project.write(DEMO + QUESTION)
    with ModelServer([Turn(calls=[Call("askColour", {})]), Turn(text="painted")]) as server:
        code, shown = at_a_terminal(project, server, "blue", "Your answer:")
        assert "blue" in server.requests[1].said
    assert code == 0, shown
    assert "painted" in shown


INTERRUPTIONS = {
    "SIGINT": ("\x03", None, 130),
    "SIGTERM": ("", signal.SIGTERM, 143),
    "SIGKILL": ("", signal.SIGKILL, -9),
}
"""What is typed at the question, which signal is sent there, and the exit code."""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="setsid --ctty is Linux's")
@pytest.mark.parametrize("how", INTERRUPTIONS)
def test_W_55_an_answer_goes_to_the_very_question_at_which_the_run_was_interrupted(project: Project, how: str) -> None:
    project.write(DEMO + QUESTION)
    typed, number, code = INTERRUPTIONS[how]
    calls = [Call("listDirectory", {"path": "."}, id="c-list"), Call("askColour", {}, id="c-colour")]
    with ModelServer([Turn(calls=calls), Turn(text="painted")]) as server:
        ended, shown = at_a_terminal(project, server, typed, "Your answer:", enter="", seconds=60, number=number)
        assert ended == code, shown
        if how != "SIGKILL":
            assert '"ANSWER" --continue-job' in shown
        answered = project.run("demo", "blue", "--continue", "-i", server=server)
        first, second = server.requests
    assert (answered.exit_code, answered.answer) == (0, "painted"), answered.stderr
    assert answered.of("callInteractiveTool") == (), "the question is not put again"
    listed, colour = second.tool_results
    assert "Interrupted" not in listed
    assert colour == "blue"
    assert len(said(second)) == len(said(first)) + 3, "the answer is no message of its own"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="setsid --ctty is Linux's")
def test_W_11_an_interrupted_question_beside_one_that_was_answered_is_the_one_that_i_answers(project: Project) -> None:
    project.write(DEMO + QUESTION + NAME)
    calls = [Call("askColour", {}, id="c-colour"), Call("askName", {}, id="c-name")]
    with ModelServer([Turn(calls=calls), Turn(text="painted")]) as server:
        assert project.run("demo", "Go.", server=server).exit_code == 4
        ended, shown = at_a_terminal(
            project, server, "\x03", "Your answer:", query="blue", options=("--continue", "-i"), enter="", seconds=60
        )
        assert ended == 130, shown
        answered = project.run("demo", "Ada", "--continue", "-i", server=server)
        assert server.requests[1].tool_results == ("blue", "Ada")
    assert (answered.exit_code, answered.answer) == (0, "painted"), answered.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="setsid --ctty is Linux's")
def test_i_after_an_interruption_at_another_question_than_an_experts_is_an_error(project: Project) -> None:
    project.write(DEMO + ASK)
    with ModelServer([WRITE]) as server:
        ended, shown = at_a_terminal(project, server, "\x03", "[a]lways", enter="", seconds=60)
        assert ended == 130, shown
        answered = project.run("demo", "yes", "--continue", "-i", server=server)
    assert answered.exit_code == 1
    assert "waits for an answer" in answered.stderr
    assert not (project.workspace / "a.txt").exists()
