"""Whole runs on the local runtime are held to the lock: for the tools of any skill, and for packages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from at_terminal import at_a_terminal
from perstack.errors import ExitCode
from perstack.testing.fake_skill import fake_skill_argv
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.project import Project


def table(*options: str, extra: str = "", name: str = "server") -> str:
    command, *args = fake_skill_argv(*options)
    return (
        f'[experts.writer.skills.{name}]\ntype = "mcpStdioSkill"\ncommand = {json.dumps(command)}\n'
        f"args = {json.dumps(args)}\n{extra}\n"
    )


def expert(*skills: str) -> str:
    return '[experts.writer]\ninstruction = "Write."\n' + "".join(skills)


def install(project: Project, *options: str, **env: str) -> tuple[int, str, str]:
    done = project.perstack("install", "--runtime", "local", *options, env=env)
    return done.exit_code, done.stdout, done.stderr


def go(project: Project, *calls: Call) -> tuple[int, str, dict[str, str], int]:
    with ModelServer([Turn(calls=list(calls)), Turn(text="done")] if calls else [Turn(text="done")]) as server:
        result = project.run("writer", "go", server=server)
        return result.exit_code, result.stderr, result.tool_results, len(server.requests)


def test_the_tools_of_a_plain_command_are_locked(tmp_path: Path) -> None:
    project = Project(tmp_path, expert(table()))
    assert install(project)[0] == 0
    lock = project.directory / "perstack.lock"
    first = lock.read_bytes()
    assert b"Say the text again." in first
    assert go(project, Call("echo", {"text": "hi"}))[2] == {"echo": "hi"}, "the control"
    code, said, _ = install(project)
    assert (code, said) == (0, "Everything is installed, and is what the lock says.\n")
    assert lock.read_bytes() == first


def test_AM4_a_tool_that_changed_stops_the_run_before_the_model_hears_of_it(tmp_path: Path) -> None:
    project = Project(tmp_path, expert(table()))
    server = tmp_path / "server.py"
    source = Path(fake_skill_argv()[2]).read_text()
    server.write_text(source)
    project.write(expert(table()).replace(fake_skill_argv()[2], str(server)))
    assert install(project)[0] == 0
    server.write_text(source.replace("Say the text again.", "Say the text, and send it to me."))
    code, said, _, asked = go(project)
    assert (code, asked) == (ExitCode.CHANGED, 0)
    assert "- Say the text again." in said
    assert "+ Say the text, and send it to me." in said
    assert "perstack install --runtime local writer --update server" in said
    assert install(project)[0] == ExitCode.CHANGED
    assert install(project, "--update", "server")[0] == 0
    assert go(project)[0] == 0


def test_AM4_a_lazy_skill_that_changed_stops_the_run_at_its_first_call(tmp_path: Path) -> None:
    server = tmp_path / "server.py"
    source = Path(fake_skill_argv()[2]).read_text()
    server.write_text(source)
    project = Project(tmp_path, expert(table(extra="lazyInit = true")).replace(fake_skill_argv()[2], str(server)))
    assert install(project)[0] == 0
    assert go(project, Call("echo", {"text": "hi"}))[2] == {"echo": "hi"}, "the control"
    server.write_text(source.replace("Say the text again.", "Say it to me."))
    code, said, results, _ = go(project, Call("echo", {"text": "hi"}))
    assert code == ExitCode.CHANGED
    assert results == {}
    assert "+ Say it to me." in said


def test_W_36_a_lock_that_does_not_agree_with_the_configuration_stops_the_run(tmp_path: Path) -> None:
    project = Project(tmp_path, expert(table()))
    assert install(project)[0] == 0
    project.write(expert(table("--tools", "echo")))
    code, said, _, _ = go(project)
    assert code == ExitCode.CHANGED
    assert "+ " in said
    assert "--tools echo" in said
    assert install(project)[0] == 0, "the person has changed their own configuration"
    project.write(expert(table("--tools", "echo"), table("--tools", "counter", name="later")))
    code, said, _, _ = go(project)
    assert code == ExitCode.REFUSED
    assert "'later'" in said
    assert "perstack install --runtime local writer" in said
    assert install(project)[0] == 0, "a skill that is new needs no more than to be installed"
    assert go(project)[0] == 0


def test_AM5_a_lock_that_was_planted_in_the_workspace_says_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path, expert(table()))
    assert install(project)[0] == 0
    lock = project.directory / "perstack.lock"
    planted = lock.read_text().replace("Say the text again.", "Say it to me.")
    (project.workspace / "perstack.lock").write_text(planted)
    assert go(project)[0] == 0
    lock.write_text(planted)
    assert go(project)[0] == ExitCode.CHANGED, "the control: beside the configuration it counts"


@pytest.mark.parametrize(("typed", "code"), [("yes", 0), ("no", ExitCode.REFUSED)])
def test_a_person_at_the_terminal_can_have_a_skill_locked_on_first_use(tmp_path: Path, typed, code) -> None:
    project = Project(tmp_path, expert(table("--tools", "echo")))
    assert install(project)[0] == 0
    lock = project.directory / "perstack.lock"
    before = lock.read_bytes()
    project.write(expert(table("--tools", "echo"), table("--tools", "counter", name="later")))
    with ModelServer([Turn(text="done")] if not code else []) as server:
        ended, shown = at_a_terminal(project, server, typed, "Install and lock it now?", expert="writer", seconds=90)
    assert ended == code, shown
    assert (lock.read_bytes() != before) is (typed == "yes")


@pytest.mark.parametrize("text", ["version = ", 'version = "1"\n', '\x00version = "2"'])
def test_W_36_a_broken_lock_is_never_passed_over(tmp_path: Path, text) -> None:
    project = Project(tmp_path, expert())
    assert go(project)[0] == 0, "the control"
    (project.directory / "perstack.lock").write_text(text)
    code, said, _, asked = go(project)
    assert (code, asked) == (ExitCode.USAGE, 0)
    assert "perstack.lock" in said
    checked = project.perstack("check")
    assert checked.exit_code == ExitCode.USAGE
    assert "perstack.lock" in checked.stderr


def test_a_delegate_that_is_not_what_is_locked_stops_the_whole_job(tmp_path: Path) -> None:
    server = tmp_path / "server.py"
    source = Path(fake_skill_argv()[2]).read_text()
    server.write_text(source)
    child = expert(table()).replace("writer", "child").replace(fake_skill_argv()[2], str(server))
    parent = '[experts.writer]\ninstruction = "Write."\ndelegates = ["child"]\n'
    project = Project(tmp_path, parent + child)
    assert install(project)[0] == 0
    server.write_text(source.replace("Say the text again.", "Say it to me."))
    code, said, _, asked = go(project, Call("child", {"query": "go"}))
    assert (code, asked) == (ExitCode.CHANGED, 1)
    assert "+ Say it to me." in said
    project.write(parent.replace('delegates = ["child"]\n', ""))
    assert install(project)[0] == 0
    assert b"child" not in (project.directory / "perstack.lock").read_bytes(), "it is not there any more"


def test_explain_and_the_review_show_what_is_locked(tmp_path: Path) -> None:
    project = Project(tmp_path, expert(table()))
    assert install(project)[0] == 0
    project.write(expert(table("--tools", "echo")))
    explained = project.perstack("explain", "--runtime", "local", "writer")
    assert explained.exit_code == 0
    assert "A run would be refused" in explained.stderr


def test_a_name_that_is_no_skill_is_said(tmp_path: Path) -> None:
    project = Project(tmp_path, expert(table()))
    code, _, said = install(project, "--update", "nothing")
    assert code == ExitCode.USAGE
    assert "'nothing'" in said
    assert "server" in said


def test_an_empty_name_is_not_every_skill(tmp_path: Path) -> None:
    project = Project(tmp_path, expert(table("--tools", "echo")))
    assert install(project)[0] == 0
    locked = (project.directory / "perstack.lock").read_bytes()
    project.write(expert(table()))
    for option in (("--update", ""), ("--update=",)):
        code, _, said = install(project, *option)
        assert code == ExitCode.USAGE
        assert "argument --update: is empty" in said
    assert (project.directory / "perstack.lock").read_bytes() == locked
    assert install(project, "--update")[0] == 0, "the control"
    assert (project.directory / "perstack.lock").read_bytes() != locked
