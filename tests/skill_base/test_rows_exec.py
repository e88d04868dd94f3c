"""The rows and attacks about commands, each on every runtime, by what happened and what is left running."""

from __future__ import annotations

import json
import time

import pytest

PRINT_ENV = "import json, os; print(json.dumps(dict(os.environ)))"
PRINT_ARGV = "import json, sys; print(json.dumps(sys.argv[1:]))"
REQUIRED = [
    *("PATH", "HOME", "SHELL", "NODE_PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES"),
    *("DYLD_LIBRARY_PATH", "NODE_OPTIONS", "PYTHONPATH", "PERL5LIB", "RUBYLIB"),
]
SUPERSET = ["LD_AUDIT", "BASH_ENV", "ENV", "IFS", "CDPATH", "PYTHONSTARTUP", "GIT_CONFIG_COUNT", "PERL5OPT", "PS4"]


def python(tools, code, *args, **arguments):
    return tools.call("exec", command="python3", args=["-c", code, *args], **arguments)


def sh(tools, script, *args, **arguments):
    return tools.call("exec", command="sh", args=["-c", script, *args], **arguments)


def test_X1_shell_metacharacters_arrive_verbatim(tools, workspace):
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
    assert json.loads(python(tools, PRINT_ARGV, *words)["output"]) == words
    assert not (workspace / "pwned").exists()
    sh(tools, "touch pwned")
    assert (workspace / "pwned").exists()


def test_X2_shell_initialisation_has_no_effect(open_tools, workspace, canary):
    names = ("BASH_ENV", "ENV", "IFS", "CDPATH")
    script = workspace / "init.sh"
    script.write_text(f"echo {canary}\n")
    tools = open_tools(env=dict.fromkeys(names, str(script)))  # neither from outside nor from the tool's input
    for name in names:
        for arguments in ({"env": {name: str(script)}}, {}):
            result = tools.call("exec", command="bash", args=["-c", "env"], **arguments)
            assert canary not in result["output"]
            assert f"{name}=" not in result["output"]
        control = tools.call("exec", command="bash", args=["-c", f"{name}=x; export {name}; env; . ./init.sh"])
        assert f"{name}=x" in control["output"]
        assert canary in control["output"]


def test_V2_the_safe_names_arrive_in_a_command(open_tools, canary):
    from perstack_proxy.envnames import SAFE_NAMES

    kept = ("PATH", "HOME", "SHELL", "NODE_PATH")  # a container has its own
    proxies = [name for name in SAFE_NAMES if "PROXY" in name.upper()]  # a gate sets them
    given = {name: f"{name}-{canary}" for name in SAFE_NAMES if name not in (*kept, *proxies)}
    tools = open_tools(env={**given, "OTHER": canary})
    environment = json.loads(python(tools, PRINT_ENV)["output"])
    assert {name: environment[name] for name in given} == given
    assert "OTHER" not in environment
    assert environment["PATH"]


def test_V3_X3_protected_names_are_dropped_in_any_case(tools, canary):
    for name in (*REQUIRED, *SUPERSET):
        spellings = dict.fromkeys((name, name.lower(), name.title()), canary)
        result = python(tools, PRINT_ENV, env={**spellings, "MY_OWN": canary})
        assert not result.is_error, name
        environment = json.loads(result["output"])
        assert [key for key, value in environment.items() if value == canary] == ["MY_OWN"], name
        assert result["droppedEnv"] == sorted(spellings)


def test_V4_a_program_or_library_in_the_workspace_is_not_run_by_a_variable(tools, workspace, canary):
    fake = workspace / "ls"
    fake.write_text(f"#!/bin/sh\necho {canary}\n")
    fake.chmod(0o755)
    (workspace / "sitecustomize.py").write_text(f"print('{canary}')\n")
    (workspace / "start.sh").write_text(f"echo {canary}\n")
    folder = str(workspace)
    variables = {
        **dict.fromkeys(("PATH", "Path", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"), folder),
        **dict.fromkeys(("LD_PRELOAD", "LD_AUDIT"), f"{folder}/ls"),
        **dict.fromkeys(("BASH_ENV", "ENV", "PYTHONSTARTUP"), f"{folder}/start.sh"),
    }
    assert canary not in tools.ok("exec", command="ls", env=variables)["output"]
    assert canary not in python(tools, "pass", env=variables)["output"]
    assert canary not in tools.ok("exec", command="bash", args=["-c", "true"], env=variables)["output"]
    assert canary in tools.ok("exec", command="./ls")["output"]


def test_X4_AX4_the_default_is_60_seconds_and_a_longer_timeout_holds(tools, processes_with, canary):
    """Both at once, so that the test takes as long as the longer one."""
    short, longer = tools.together(
        ("exec", {"command": "sh", "args": ["-c", "sleep 70; :", canary]}),
        ("exec", {"command": "sh", "args": ["-c", "sleep 75; echo whole"], "timeout": 120_000}),
        seconds=100,
    )
    assert short["error"] == "TimedOut"
    assert 60_000 <= short["durationMs"] < 62_000
    assert longer["output"] == "whole\n"
    assert not processes_with(canary)


def test_X5_AF2_a_working_directory_outside_is_refused(tools, workspace, outside):
    (workspace / "inside").mkdir()
    (workspace / "out").symlink_to(outside.path)
    (workspace / "in").symlink_to("inside")
    (workspace / "inside/up").symlink_to("../..")
    paths = ["..", "/", "../outside", str(outside.path), "out", "inside/../../outside", "~", "/proc/self/root"]
    for path in (*paths, "inside/up", "out/x"):
        assert tools.refused("exec", command="pwd", cwd=path)[0] == "AccessDenied", path
    assert "symbolic link to 'inside'" in tools.refused("exec", command="pwd", cwd="in")[1]
    assert tools.refused("exec", command="pwd", cwd="missing")[0] == "NotFound"
    assert tools.ok("exec", command="pwd", cwd="inside")["output"].endswith("/inside\n")


def test_AX1_a_command_that_ignores_SIGTERM_is_killed_and_reported_as_timed_out(tools, processes_with, canary):
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    started = time.monotonic()
    result = python(tools, code, canary, timeout=1_000)
    assert result["output"] == "ready\n"
    assert (result["timedOut"], result["signal"], result["exitCode"]) == (True, "SIGKILL", None)
    assert 1_000 <= result["durationMs"] < 15_000
    assert time.monotonic() - started < 20
    assert not processes_with(canary)
    assert python(tools, "print('again')", canary, timeout=10_000)["output"] == "again\n"


TREE = {
    "background": "sleep 600 & echo started",
    "new session": "setsid sh -c 'sleep 600; :' $0 & echo started",
    "double fork": "(setsid sh -c 'sleep 600 & sleep 600; :' $0 &) ; echo started",
    "closed streams": "nohup sh -c 'sleep 600; :' $0 >/dev/null 2>&1 </dev/null & echo started",
    "cleared environment": "env -i setsid sh -c 'sleep 600; :' $0 & echo started",
    "ignores SIGTERM": "setsid sh -c 'trap \"\" TERM; sleep 600; :' $0 & echo started",
    "stopped": "setsid sh -c 'kill -STOP $$; sleep 600; :' $0 & echo started",
}


@pytest.mark.parametrize("how", TREE)
def test_AX2_nothing_survives_a_call(tools, processes_with, canary, how):
    """The command itself ends at once; what it left behind holds the pipe and would run for ten minutes."""
    started = time.monotonic()
    result = sh(tools, f"{TREE[how]}; :", canary)
    assert result["output"] == "started\n"
    assert time.monotonic() - started < 15
    assert not processes_with(canary)


@pytest.mark.parametrize("number", ["KILL", "TERM", "STOP"])
def test_AX2_a_command_that_attacks_its_supervisor_gains_nothing(tools, processes_with, canary, number):
    started = time.monotonic()
    result = sh(tools, f"setsid sh -c 'sleep 600; :' $0 & kill -{number} $PPID; sleep 600; :", canary, timeout=60_000)
    assert result.is_error
    assert time.monotonic() - started < 20
    assert not processes_with(canary)
    assert sh(tools, "echo again")["output"] == "again\n"


TIMEOUTS = [0, -1, 1.5, 3_600_001, 2**31, 2**53, "1000", None, True, [1], float("1e300")]


def test_AX3_only_whole_milliseconds_up_to_the_maximum_are_a_timeout(open_tools):
    tools = open_tools()
    for value in TIMEOUTS:
        result = tools.call("exec", command="true", timeout=value)
        assert result.is_error, value
        assert result["error"] == "InvalidArguments", value
    tools.ok("exec", command="true", timeout=3_600_000)


def test_AX3_the_configuration_sets_the_longest_timeout(open_tools):
    tools = open_tools(policy={"bounds": {"execMaxTimeoutMs": 500}})
    assert "at most 500" in tools.refused("exec", command="true", timeout=501)[1]
    assert tools.call("exec", command="sleep", args=["60"], timeout=500)["timedOut"]
    assert tools.call("exec", command="sleep", args=["60"])["durationMs"] < 10_000


def test_AX5_a_flood_keeps_its_head_and_tail_and_the_rest_can_be_read(tools):
    code = "print('first')\nfor n in range(200_000): print('line', n)\nprint('x' * 50_000_000)\nprint('last')"
    result = python(tools, code)
    assert result["truncated"]
    assert result["output"].startswith("first\nline 0\n")
    assert result["output"].endswith("last\n")
    assert "bytes left out" in result["output"]
    assert len(result["output"]) < 70_000
    assert result["bytes"]["stdout"] > 52_000_000
    page = tools.ok("readExecOutput", outputId=result["outputId"], offset=1_000_000)
    assert "line 9" in page["content"]
    assert page["nextOffset"] == 1_000_000 + len(page["content"])
    assert tools.refused("readExecOutput", outputId=999)[0] == "NotFound"
    assert int(tools.ok("healthCheck")["memory"]["heapTotal"].removesuffix("MB")) < 64
    small = python(tools, "print('x')")
    assert (small["truncated"], small["output"]) == (False, "x\n")


def test_AX10_a_program_that_reads_its_input_ends_at_once(tools):
    assert tools.ok("exec", command="cat")["durationMs"] < 5_000
    assert sh(tools, "echo fed | cat")["output"] == "fed\n"


def test_AX12_how_a_command_ended_is_told_apart(tools):
    def ending(result):
        return result["exitCode"], result["signal"], result["timedOut"], result["truncated"]

    assert ending(python(tools, "print('x')")) == (0, None, False, False)
    failed = python(tools, "import sys; print('partial'); sys.exit(7)")
    assert failed.is_error
    assert (*ending(failed), failed["output"]) == (7, None, False, False, "partial\n")
    assert ending(python(tools, "import os; os.kill(os.getpid(), 15)")) == (None, "SIGTERM", False, False)
    assert ending(python(tools, "import time; time.sleep(60)", timeout=300)) == (None, "SIGTERM", True, False)
    assert isinstance(failed["durationMs"], int)
    assert tools.refused("exec", command="no-such-program")[0] == "NotFound"


def test_a_bound_of_the_configuration_holds(open_tools, workspace):
    tools = open_tools(policy={"bounds": {"readBytes": 10}})
    (workspace / "a").write_text("0123456789abcdef")
    assert tools.ok("readTextFile", path="a", offset=0)["content"] == "0123456789"
