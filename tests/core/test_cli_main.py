"""The frame of the command line: what is asked for is found, and every failure is a message with a next step."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from command_line import SCRIPT, perstack
from fake_plugins import install
from perstack.cli import main as frame
from perstack.cli.failures import report
from perstack.errors import ConfigError, ExitCode, PerstackError, PolicyError, Problem, UsageError
from perstack.plugins.discovery import discover
from perstack.plugins.manager import load

COMMAND = """
def configure(parser):
    parser.add_argument("--code", type=int, default=0)

def run(args):
    print("acme ran")
    return args.code

@hookimpl
def perstack_register_commands():
    return [CommandSpec(name="acme", summary="Show Acme", configure=configure, run=run)]
"""


@pytest.mark.parametrize("name", ["start", "publish", "unpublish", "tag", "status"])
def test_W_38_W_43_W_50_a_command_of_the_original_that_is_left_out_is_refused_with_a_reason(tmp_path, name) -> None:
    done = perstack(name, "x", home=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith(f"perstack: There is no command {name!r}.\n  Hint: There is no ")


@pytest.mark.parametrize("name", ["cursor", "claude-code", "gemini"])
def test_W_52_a_runtime_of_the_original_that_is_left_out_is_refused_with_a_reason(tmp_path, name) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "perstack.toml").write_text("[experts.a]\ninstruction = 'x'\n")
    done = perstack("run", "a", "b", "--runtime", name, home=tmp_path, cwd=project)
    assert done.returncode == ExitCode.USAGE
    assert f"There is no runtime {name!r}" in done.stderr
    assert "agent of another vendor" in done.stderr


def test_help_names_every_command_and_imports_none(tmp_path) -> None:
    done = perstack("--help", home=tmp_path)
    assert done.returncode == 0
    for name, command in frame.COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert command.summary in done.stdout
    assert perstack(home=tmp_path).stdout == done.stdout


@pytest.mark.parametrize("arguments", [["--version"], ["-p", "no:acme", "--version"]])
def test_the_version_is_the_packages(tmp_path, arguments) -> None:
    assert perstack(*arguments, home=tmp_path).stdout == "perstack 0.1.0\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "a", "b", "--continue-job", ""],
        ["run", "a", "b", "--workspace="],
        ["run", "a", "b", "--provider", ""],
        ["run", "a", "b", "--approve", "x:y", "--approve", ""],
        ["log", "--state-dir", ""],
        ["check", "--config", ""],
    ],
)
def test_W_51_an_option_of_a_variable_without_value_is_a_mistake_and_never_a_default(tmp_path, arguments) -> None:
    done = perstack(*arguments, home=tmp_path)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    option = next(each for each in reversed(arguments) if each.startswith("--")).rstrip("=")
    assert done.stderr == f"perstack: argument {option}: is empty\n  Hint: See: perstack {arguments[0]} --help\n"


@pytest.mark.parametrize("option", ["--max-steps", "--reasoning-budget", "--timeout"])
def test_W_51_a_number_beyond_all_counting_is_a_mistake_and_no_defect(tmp_path, option) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "perstack.toml").write_text("[experts.a]\ninstruction = 'x'\n")
    done = perstack("run", "a", "b", option, "9" * 5000, home=tmp_path, cwd=project)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert option in done.stderr
    assert len(done.stderr) < 500


def test_W_51_what_the_machine_refuses_is_said_with_its_name_and_is_no_defect(tmp_path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "perstack.toml").write_text("[experts.a]\ninstruction = 'x'\n")
    (tmp_path / "loop").symlink_to("loop")
    for option, name in (
        ("--workspace", "x" * 5000),
        ("--workspace", str(tmp_path / "loop")),
        ("--state-dir", "x" * 5000),
    ):
        done = perstack("run", "a", "b", option, name, home=tmp_path, cwd=tmp_path / "project")
        assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
        assert "internal error" not in done.stderr
        assert "Hint: " in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/some/file"), "'/some/file' cannot be used: Permission"),
        (PermissionError(errno.EACCES, "Permission denied", b"/b\xff"), "cannot be used: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "/some/file"), "Read-only"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
    ],
)
def test_W_51_a_refusal_of_the_machine_has_no_stack_and_a_next_step(capsys, error, words) -> None:
    assert report(ExceptionGroup("several", [error])) == ExitCode.USAGE
    shown = capsys.readouterr().err
    assert words in shown
    assert "Hint: " in shown
    assert "report them" not in shown


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "perstack", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "perstack 0.1.0\n"


def test_an_unknown_command_gets_a_suggestion(tmp_path) -> None:
    done = perstack("plugin", home=tmp_path)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr == "perstack: There is no command 'plugin'.\n  Hint: Did you mean 'plugins'?\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--colour"], "--colour"),
        (["plugins"], "ACTION"),
        (["plugins", "dance"], "dance"),
        (["plugins", "show"], "NAME"),
        (["-p", "acme", "plugins", "list"], "-p 'acme'"),
    ],
)
def test_a_command_line_that_does_not_fit_ends_with_1_and_says_where_help_is(tmp_path, arguments, words) -> None:
    done = perstack(*arguments, home=tmp_path)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert words in done.stderr
    assert "Hint: " in done.stderr


def test_a_command_of_a_plugin_runs_and_gives_its_exit_code(tmp_path) -> None:
    install(tmp_path, "acme", COMMAND)
    home = tmp_path / "home"
    home.mkdir()
    done = perstack("acme", "--code", "3", home=home, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (3, "acme ran\n", "")


def test_a_plugin_that_is_left_out_is_not_imported_for_its_command(tmp_path) -> None:
    fake = install(tmp_path, "acme", COMMAND)
    home = tmp_path / "home"
    home.mkdir()
    for options in (["-p", "no:acme", "acme"], ["acme"]):
        project = home / "perstack.toml"
        project.write_text('[plugins]\nblock = ["acme"]\n' if options == ["acme"] else "")
        done = perstack(*options, home=home, PYTHONPATH=str(tmp_path))
        assert done.returncode == ExitCode.USAGE
        assert not fake.was_imported
    (home / "perstack.toml").unlink()
    assert perstack("acme", home=home, PYTHONPATH=str(tmp_path)).returncode == 0
    assert fake.was_imported


def test_a_plugin_cannot_replace_a_command_of_core(tmp_path) -> None:
    fake = install(tmp_path, "acme", COMMAND.replace('name="acme"', 'name="plugins"'))
    home = tmp_path / "home"
    home.mkdir()
    done = perstack("plugins", "list", home=home, PYTHONPATH=str(tmp_path))
    assert "acme" in done.stdout
    assert "acme ran" not in done.stdout
    assert not fake.was_imported


def test_two_plugins_with_one_command_are_a_conflict_that_names_both(tmp_path) -> None:
    install(tmp_path, "one", COMMAND)
    install(tmp_path, "two", COMMAND)
    home = tmp_path / "home"
    home.mkdir()
    done = perstack("acme", home=home, PYTHONPATH=str(tmp_path))
    assert done.returncode == ExitCode.USAGE
    assert "'one' (perstack-one 1.0)" in done.stderr
    assert "'two' (perstack-two 1.0)" in done.stderr


def test_every_problem_of_a_configuration_is_a_line(capsys) -> None:
    problems = [Problem(message="is wrong", where="p.toml", line=n, key=f"k{n}", hint="Mend it.") for n in (1, 2)]
    assert report(ConfigError(problems)) == ExitCode.USAGE
    assert capsys.readouterr().err.splitlines() == [
        "perstack: 2 problems:",
        "  p.toml:1: k1: is wrong (Mend it.)",
        "  p.toml:2: k2: is wrong (Mend it.)",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 1),
        (PerstackError("x"), 2),
        (PolicyError("x"), 5),
        (KeyboardInterrupt(), 130),
        (ExceptionGroup("g", [UsageError("x"), ExceptionGroup("h", [PolicyError("y")])]), 5),
    ],
)
def test_every_error_has_its_exit_code(error, code, capsys) -> None:
    assert report(error) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_hint_of_a_plugin_follows_the_errors_own(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    hints = "@hookimpl\ndef perstack_error_hints(error):\n    return [ErrorHint(text='acme: ' + str(error))]\n"
    install(tmp_path, "acme", hints)
    registry = load(candidates=discover([str(tmp_path)]))
    report(PerstackError("It broke.", hint="Look."), registry=registry)
    assert capsys.readouterr().err == "perstack: It broke.\n  Hint: Look.\n  Hint: acme: It broke.\n"


def test_AO2_an_error_cannot_send_commands_to_the_terminal(capsys) -> None:
    report(PerstackError("red \x1b[31m\u202e", hint="\x07bell"))
    shown = capsys.readouterr().err
    assert shown == "perstack: red \\x1b[31m\\u202e\n  Hint: \\x07bell\n"


def test_an_unforeseen_error_is_one_line_and_a_private_file(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    canary = uuid.uuid4().hex
    assert report(ZeroDivisionError(canary)) == ExitCode.FAILED
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert canary in shown.splitlines()[0]
    [details] = tmp_path.iterdir()
    assert str(details) in shown
    assert f"ZeroDivisionError: {canary}" in details.read_text()
    assert stat.S_IMODE(details.stat().st_mode) == 0o600


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["plugins", "list"], ["--help"]])
def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path, arguments, unbuffered) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [SCRIPT, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_pipe_that_broke_elsewhere_is_not_hidden(capfd) -> None:
    assert report(BrokenPipeError("to a skill")) == ExitCode.FAILED
    assert "to a skill" in capfd.readouterr().err


def test_a_command_that_is_not_installed_is_said_to_be_so(monkeypatch, capsys) -> None:
    monkeypatch.setitem(frame.COMMANDS, "later", frame.Command("perstack.cli.later", "Comes later"))
    assert frame.main(["later"]) == ExitCode.USAGE
    assert "'later' is not part of this installation" in capsys.readouterr().err


def test_every_command_of_the_table_has_its_functions() -> None:
    import importlib

    for command in frame.COMMANDS.values():
        module = importlib.import_module(command.module)
        assert callable(module.configure)
        assert callable(module.run)
        assert Path(str(module.__file__)).parent.name == "cli"
