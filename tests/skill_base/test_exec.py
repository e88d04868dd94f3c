"""exec: no shell, a known environment, a time limit that holds, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pytest

PRINT_ENV = "import json, os; print(json.dumps(dict(os.environ)))"


def python(server, code, *args, **arguments):
    return server.call("exec", command=sys.executable, args=["-c", code, *args], **arguments)


def test_the_result_is_structured(server):
    result = python(server, "import sys; print('out'); print('err', file=sys.stderr)")
    assert (result["output"], result["stdout"], result["stderr"]) == ("out\nerr\n", "out\n", "err\n")
    assert (result["exitCode"], result["signal"], result["timedOut"], result["truncated"]) == (0, None, False, False)
    assert isinstance(result["durationMs"], int)


def test_streams_are_shown_as_asked_and_silence_has_a_sentence(server):
    code = "import sys; print('out'); print('err', file=sys.stderr)"
    assert python(server, code, stderr=False)["output"] == "out\n"
    assert python(server, code, stdout=False)["output"] == "err\n"
    assert python(server, "pass")["output"] == "The command succeeded and printed nothing."


def test_V4_relative_entries_of_the_path_are_not_searched(launch, workspace, canary):
    tool = workspace / "mytool"
    tool.write_text(f"#!/bin/sh\necho {canary}\n")
    tool.chmod(0o755)
    server = launch(workspace, env={**os.environ, "PATH": f".::{os.environ['PATH']}"})
    kind, message = server.refused("exec", command="mytool")
    assert kind == "NotFound"
    assert "'./mytool'" in message
    assert server.ok("exec", command="./mytool")["output"] == f"{canary}\n"


def test_V1_V2_only_safe_names_are_inherited(launch, workspace, canary):
    from perstack_proxy.envnames import SAFE_NAMES

    safe = {name: os.environ.get("PATH", "") if name == "PATH" else f"{name}-{canary}" for name in SAFE_NAMES}
    secrets = {f"SECRET_{number}": canary for number in range(30)}
    server = launch(workspace, env={**safe, **secrets})
    environment = json.loads(python(server, PRINT_ENV)["stdout"])
    assert {name: environment.get(name) for name in SAFE_NAMES} == safe
    assert set(environment) - set(SAFE_NAMES) <= {"LC_CTYPE"}  # Python adds it to itself


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux")
def test_AS5_a_command_cannot_read_the_servers_own_variables(launch, workspace, canary):
    command = [sys.executable, "-I", "-m", "perstack_skill_base"]
    if os.geteuid() == 0:  # root may read everything; without capabilities it is an ordinary user
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv to give up root's capabilities")
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    server = launch(workspace, env={**os.environ, "SECRET": canary}, command=command)
    own = python(server, "print(open('/proc/self/environ').read())", env={"MINE": canary})
    assert canary in own["output"]
    result = python(server, f"print(open('/proc/{server.pid}/environ').read())")
    assert result.is_error
    assert canary not in result["output"]


@pytest.mark.parametrize("odd", ["\0", "\ud800"])
def test_AF13_what_the_system_cannot_take_is_an_error_of_the_arguments(server, odd):
    for arguments in (
        {"command": odd},
        {"command": "echo", "args": [odd]},
        {"command": "echo", "cwd": odd},
        {"command": "echo", "env": {"A": odd}},
    ):
        assert server.refused("exec", **arguments)[0] == "InvalidArguments"
    assert server.ok("exec", command="echo", args=["é"], env={"A": "é"})["output"] == "é\n"


def test_AF13_half_a_character_is_an_error_of_the_arguments_in_every_tool(server, workspace):
    (workspace / "f").write_text("x")
    for tool, arguments in (
        ("searchFiles", {"pattern": "\ud800"}),
        ("searchFiles", {"pattern": "\udcff"}),
        ("findFiles", {"pattern": "\ud800"}),
        ("editTextFile", {"path": "f", "oldText": "x", "newText": "\ud800"}),
        ("applyPatch", {"patch": "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n+\ud800\n"}),
        ("todo", {"newTodos": ["\ud800"]}),
    ):
        kind, message = server.refused(tool, **arguments)
        assert (kind, "half a character" in message) == ("InvalidArguments", True), message
    assert (workspace / "f").read_text() == "x"


@pytest.mark.parametrize("name", ["A=B", "", "A B", "1A", "Ä", "A\n"])
def test_an_impossible_name_is_an_error(server, name):
    assert server.refused("exec", command="true", env={name: "x"})[0] == "InvalidArguments"
    server.ok("exec", command="true", env={"A1_": "x"})


def test_X4_the_default_timeout_is_60_seconds_and_can_be_overridden(launch, workspace):
    server = launch(workspace)
    schemas = {tool["name"]: tool["inputSchema"] for tool in server.request("tools/list").result["tools"]}
    assert schemas["exec"]["properties"]["timeout"]["default"] == 60_000
    assert schemas["exec"]["properties"]["timeout"]["maximum"] == 3_600_000
    result = server.call("exec", command="sleep", args=["60"], timeout=200)
    assert (result["timedOut"], result["error"]) == (True, "TimedOut")
    assert 200 <= result["durationMs"] < 5_000


def test_AX2_the_tree_is_ended_at_the_timeout_too(server, processes_with, canary):
    command = "setsid sh -c 'sleep 600; :' $0 & sleep 600; :"
    assert server.call("exec", command="sh", args=["-c", command, canary], timeout=300)["timedOut"]
    assert not processes_with(canary)


def test_AX2_one_calls_end_leaves_another_call_alone(server):
    slow = server.begin("exec", command="sh", args=["-c", "setsid sleep 0.5; echo whole"])
    server.ok("exec", command="sh", args=["-c", "setsid sleep 600 & :"])
    assert server.finish(slow)["output"] == "whole\n"


def test_a_program_that_is_missing_or_no_program_is_an_error(server, workspace):
    (workspace / "data").write_text("x")
    assert server.refused("exec", command="no-such-program")[0] == "NotFound"
    assert server.refused("exec", command="./data")[0] == "NotStarted"
    assert server.refused("exec", command="./missing")[0] == "NotStarted"
    assert server.refused("exec", command="true", args=["x" * 5_000_000])[0] == "NotStarted"
    assert server.refused("exec", command="true", args=["\0"])[0] == "InvalidArguments"


def test_the_working_directory_is_the_workspace_or_a_place_in_it(server, workspace):
    (workspace / "sub").mkdir()
    assert server.ok("exec", command="pwd")["output"] == f"{workspace}\n"
    for path in ("sub", "./sub/../sub", str(workspace / "sub")):
        assert server.ok("exec", command="pwd", cwd=path)["output"] == f"{workspace}/sub\n"
