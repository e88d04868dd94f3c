"""exec: no shell, a known environment, a time limit that holds, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time

import pytest

PRINT_ENV = "import json, os; print(json.dumps(dict(os.environ)))"
PRINT_ARGV = "import json, sys; print(json.dumps(sys.argv[1:]))"
REQUIRED = [
    "PATH",
    "HOME",
    "SHELL",
    "NODE_PATH",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "DYLD_LIBRARY_PATH",
    "NODE_OPTIONS",
    "PYTHONPATH",
    "PERL5LIB",
    "RUBYLIB",
]


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


def test_AX12_a_failure_tells_exit_code_and_signal_apart(server):
    failed = python(server, "import sys; print('partial'); sys.exit(7)")
    assert failed.is_error
    assert (failed["exitCode"], failed["signal"], failed["timedOut"], failed["output"]) == (7, None, False, "partial\n")
    ended = python(server, "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert (ended["exitCode"], ended["signal"], ended["timedOut"]) == (None, "SIGTERM", False)
    assert "SIGTERM" in ended["message"]


def test_X1_shell_metacharacters_arrive_verbatim(server, workspace):
    words = [
        "; touch pwned",
        "$(touch pwned)",
        "`touch pwned`",
        "| touch pwned",
        "a\nb",
        "'\"\\",
        "*",
        "$HOME",
        "",
        "-x",
    ]
    result = python(server, PRINT_ARGV, *words)
    assert json.loads(result["stdout"]) == words
    assert not (workspace / "pwned").exists()
    server.ok("exec", command="sh", args=["-c", "touch pwned"])
    assert (workspace / "pwned").exists()


@pytest.mark.parametrize("name", ["BASH_ENV", "ENV", "IFS", "CDPATH"])
def test_X2_shell_initialisation_has_no_effect(launch, workspace, canary, name):
    script = workspace / "init.sh"
    script.write_text(f"echo {canary}\n")
    # Neither from the tool's input nor from the server's own environment.
    server = launch(workspace, env={**os.environ, name: str(script)})
    for arguments in ({"env": {name: str(script)}}, {}):
        result = server.call("exec", command="bash", args=["-c", "env"], **arguments)
        assert canary not in result["output"]
        assert f"{name}=" not in result["output"].splitlines()
        assert str(script) not in result["output"]
    control = server.call("exec", command="bash", args=["-c", f"{name}='{script}' bash -c env; . {script}"])
    assert canary in control["output"]


@pytest.mark.parametrize("name", REQUIRED)
def test_V3_X3_a_protected_name_is_dropped_in_any_case_and_reported(server, canary, name):
    spellings = dict.fromkeys((name, name.lower(), name.title()), canary)
    result = python(server, PRINT_ENV, env={**spellings, "MY_OWN": canary})
    environment = json.loads(result["stdout"])
    assert [key for key, value in environment.items() if value == canary] == ["MY_OWN"]
    assert result["droppedEnv"] == sorted(spellings)


@pytest.mark.parametrize("name", ["LD_AUDIT", "ld_anything", "BASH_FUNC_ls", "PYTHONSTARTUP", "GIT_CONFIG_COUNT"])
def test_V3_the_superset_is_dropped_too(server, canary, name):
    assert python(server, "pass", env={name: canary})["droppedEnv"] == [name]


def test_V4_a_program_or_library_in_the_workspace_is_not_run_by_a_variable(server, workspace, canary):
    fake = workspace / "ls"
    fake.write_text(f"#!/bin/sh\necho {canary}\n")
    fake.chmod(0o755)
    (workspace / "sitecustomize.py").write_text(f"print('{canary}')\n")
    folder = str(workspace)
    variables = {
        "PATH": folder,
        "Path": folder,
        "PYTHONPATH": folder,
        "LD_LIBRARY_PATH": folder,
        "LD_PRELOAD": f"{folder}/ls",
    }
    assert canary not in server.ok("exec", command="ls", env=variables)["output"]
    assert canary not in python(server, "pass", env=variables)["output"]
    assert canary in server.ok("exec", command="./ls")["output"]


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


@pytest.mark.parametrize("name", ["A=B", "", "A B", "1A", "Ä", "A\n"])
def test_an_impossible_name_is_an_error(server, name):
    assert server.refused("exec", command="true", env={name: "x"})[0] == "InvalidArguments"
    server.ok("exec", command="true", env={"A1_": "x"})


def test_AX3_only_whole_milliseconds_up_to_the_maximum_are_a_timeout(server):
    for value in (0, -1, 1.5, 3_600_001, 2**31, 2**53, "1000", None, True, [1]):
        assert server.refused("exec", command="true", timeout=value)[0] == "InvalidArguments"
    server.ok("exec", command="true", timeout=3_600_000)


def test_X4_the_default_timeout_is_60_seconds_and_can_be_overridden(launch, workspace):
    server = launch(workspace)
    schemas = {tool["name"]: tool["inputSchema"] for tool in server.request("tools/list").result["tools"]}
    assert schemas["exec"]["properties"]["timeout"]["default"] == 60_000
    assert schemas["exec"]["properties"]["timeout"]["maximum"] == 3_600_000
    result = server.call("exec", command="sleep", args=["60"], timeout=200)
    assert (result["timedOut"], result["error"]) == (True, "TimedOut")
    assert 200 <= result["durationMs"] < 5_000


def test_X4_the_operator_sets_the_longest_timeout(launch, workspace):
    command = [sys.executable, "-I", "-m", "perstack_skill_base", "--policy", '{"bounds": {"execMaxTimeoutMs": 500}}']
    server = launch(workspace, command=command)
    assert "at most 500" in server.refused("exec", command="true", timeout=501)[1]
    assert server.call("exec", command="sleep", args=["60"], timeout=500)["timedOut"]


def test_AX1_a_command_that_ignores_SIGTERM_is_killed_and_reported_as_timed_out(server, processes_with, canary):
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('ready', flush=True); time.sleep(600)"
    )
    started = time.monotonic()
    result = python(server, code, canary, timeout=1_000)
    assert result["output"] == "ready\n"
    assert (result["timedOut"], result["signal"], result["exitCode"]) == (True, "SIGKILL", None)
    assert 3 <= time.monotonic() - started < 15
    assert not processes_with(canary)


TREE = {
    "background": "sleep 600 & echo started",
    "new session": "setsid sh -c 'sleep 600; :' $0 & echo started",
    "double fork": "(setsid sh -c 'sleep 600 & sleep 600; :' $0 &) ; echo started",
    "no hangup, closed streams": "nohup sh -c 'sleep 600; :' $0 >/dev/null 2>&1 </dev/null & echo started",
    "cleared environment": "env -i setsid sh -c 'sleep 600; :' $0 & echo started",
    "ignores SIGTERM": "setsid sh -c 'trap \"\" TERM; sleep 600; :' $0 & echo started",
}


@pytest.mark.parametrize("how", TREE)
def test_AX2_nothing_survives_a_call(server, processes_with, canary, how):
    """The command itself ends at once; what it left behind holds the pipe and would run for ten minutes."""
    started = time.monotonic()
    result = server.ok("exec", command="sh", args=["-c", f"{TREE[how]}; :", canary])
    assert result["output"] == "started\n"
    assert time.monotonic() - started < 15
    assert not processes_with(canary)


def test_AX2_the_tree_is_ended_at_the_timeout_too(server, processes_with, canary):
    command = "setsid sh -c 'sleep 600; :' $0 & sleep 600; :"
    assert server.call("exec", command="sh", args=["-c", command, canary], timeout=300)["timedOut"]
    assert not processes_with(canary)


@pytest.mark.parametrize("number", ["KILL", "TERM"])
def test_AX2_a_command_that_attacks_its_supervisor_gains_nothing(server, processes_with, canary, number):
    command = f"setsid sh -c 'sleep 600; :' $0 & kill -{number} $PPID; sleep 600; :"
    result = server.call("exec", command="sh", args=["-c", command, canary], timeout=5_000)
    assert result.is_error
    assert not processes_with(canary)
    assert server.ok("exec", command="echo", args=["again"])["output"] == "again\n"


def test_AX2_one_calls_end_leaves_another_call_alone(server):
    slow = server.begin("exec", command="sh", args=["-c", "setsid sleep 0.5; echo whole"])
    server.ok("exec", command="sh", args=["-c", "setsid sleep 600 & :"])
    assert server.finish(slow)["output"] == "whole\n"


def test_AX5_a_flood_keeps_its_head_and_tail_and_the_server_stays_small(server):
    code = "print('first')\nfor _ in range(3200): print('x' * 65536, end='')\nprint('last')"
    result = python(server, code)
    assert result["truncated"]
    assert result["output"].startswith("first\n")
    assert result["output"].endswith("last\n")
    assert "bytes left out" in result["output"]
    assert len(result["output"]) < 70_000
    assert int(server.ok("healthCheck")["memory"]["heapTotal"].removesuffix("MB")) < 64


def test_AX10_a_program_that_reads_its_input_ends_at_once(server):
    assert server.ok("exec", command="cat")["durationMs"] < 5_000


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


def test_X5_W_19_a_working_directory_outside_is_refused(server, workspace, outside):
    (workspace / "inside").mkdir()
    (workspace / "out").symlink_to(outside.path)
    (workspace / "in").symlink_to("inside")
    (workspace / "file").touch()
    for path in ("..", "/", "../outside", str(outside.path), "out", "inside/../../outside", "~", "/proc/self/root"):
        assert server.refused("exec", command="pwd", cwd=path)[0] == "AccessDenied"
    kind, message = server.refused("exec", command="pwd", cwd="in")
    assert kind == "AccessDenied"
    assert "symbolic link to 'inside'" in message
    assert server.refused("exec", command="pwd", cwd="file")[0] == "NotADirectory"
    assert server.refused("exec", command="pwd", cwd="missing")[0] == "NotFound"
    assert server.ok("exec", command="pwd", cwd="inside")["output"] == f"{workspace}/inside\n"
