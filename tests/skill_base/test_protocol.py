"""The server as an MCP peer: every request is answered, and nothing else is ever on its output."""

from __future__ import annotations

import json
import signal

import pytest
from perstack.testing.waiting import eventually
from perstack_proxy import jsonrpc

NAMES = [
    "attemptCompletion",
    "todo",
    "clearTodo",
    "exec",
    "getFileInfo",
    "healthCheck",
    "readTextFile",
    "readImageFile",
    "readPdfFile",
    "writeTextFile",
    "appendTextFile",
    "editTextFile",
    "moveFile",
    "deleteFile",
    "listDirectory",
    "createDirectory",
    "deleteDirectory",
    "searchFiles",
    "findFiles",
    "editTextFileMany",
    "applyPatch",
    "readExecOutput",
]


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_each_protocol_version_is_answered_with_itself(server, version):
    assert server.request("initialize", protocolVersion=version).result["protocolVersion"] == version


@pytest.mark.parametrize("version", ["1999-01-01", 7, None])
def test_an_unknown_protocol_version_is_answered_with_the_newest(server, version):
    assert server.request("initialize", protocolVersion=version).result["protocolVersion"] == "2025-11-25"


def test_a_client_from_before_structured_content_does_not_get_it(server):
    server.request("initialize", protocolVersion="2025-03-26")
    answer = server.request("tools/call", name="clearTodo", arguments={}).result
    assert "structuredContent" not in answer
    assert json.loads(answer["content"][0]["text"]) == {"todos": []}


def test_the_tools_are_listed_the_originals_17_first_with_schemas(server):
    tools = server.request("tools/list").result["tools"]
    assert [tool["name"] for tool in tools] == NAMES
    for tool in tools:
        assert tool["description"]
        assert tool["inputSchema"]["type"] == "object"
        for schema in tool["inputSchema"]["properties"].values():
            assert schema["description"]


def test_the_schemas_are_valid_json_schema(server):
    import jsonschema

    for tool in server.request("tools/list").result["tools"]:
        jsonschema.Draft202012Validator.check_schema(tool["inputSchema"])


def test_ping_is_answered_and_an_unknown_method_is_an_error(server):
    assert server.request("ping").result == {}
    assert server.request("resources/list").error.code == -32601


def test_an_unknown_tool_is_an_error_that_says_where_the_names_are(server):
    error = server.request("tools/call", name="nope", arguments={}).error
    assert error.code == -32602
    assert "'nope'" in error.message


def test_bad_lines_are_answered_and_the_connection_goes_on(server):
    for line in (b"{", b"[]", b'{"jsonrpc":"2.0","id":true,"method":"ping"}', b"\xff", b"[" * 100_000):
        server.write(line + b"\n")
        assert server.answer(None).error.code in (-32700, -32600)
    assert server.request("ping").result == {}


def test_a_line_over_the_limit_is_dropped_and_the_next_one_is_read(server):
    from perstack_proxy.limits import REQUEST_LINE_BYTES

    server.write(b'"' + b"x" * (REQUEST_LINE_BYTES + 1_000_000) + b"\n")
    assert "longer than" in server.answer(None).error.message
    assert server.request("ping").result == {}


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("readTextFile", {}, "lacks 'path'"),
        ("readTextFile", {"path": 7}, "path must be a string"),
        ("readTextFile", {"path": "a", "from": -1}, "from must be at least 0"),
        ("readTextFile", {"path": "a", "from": True}, "from must be an integer"),
        ("readTextFile", {"path": "a", "form": 1}, "unknown member 'form'. Accepted: path, from, to, offset"),
        ("exec", {"command": "ls", "args": ["a", 1]}, "args[1] must be a string"),
        ("exec", {"command": "ls", "env": {"A": 1}}, "env.A must be a string"),
        ("todo", {"newTodos": ["x" * 2001]}, "newTodos[0] has 2001 characters"),
        ("clearTodo", [], "arguments must be an object"),
    ],
)
def test_arguments_that_do_not_fit_are_named(server, tool, arguments, words):
    result = server.request("tools/call", name=tool, arguments=arguments).result
    assert result["isError"]
    assert result["structuredContent"]["error"] == "InvalidArguments"
    assert words in result["structuredContent"]["message"]


def test_a_quick_call_is_answered_while_a_slow_one_runs(server):
    slow = server.begin("exec", command="sleep", args=["60"])
    server.ok("healthCheck")
    server.notify("notifications/cancelled", requestId=slow)


def test_a_cancelled_call_is_ended_and_not_answered(server, processes_with, canary):
    ident = server.begin("exec", command="sh", args=["-c", "sleep 600; :", canary])
    eventually(lambda: processes_with(canary), "the command runs")
    server.notify("notifications/cancelled", requestId=ident, reason="test")
    eventually(lambda: not processes_with(canary), "the command has ended")
    server.ok("healthCheck")
    server.process.stdin.close()
    assert server.read() is None


def test_calls_that_run_when_the_input_ends_are_still_answered(server, workspace):
    (workspace / "f").write_text("x" * 50_000)
    idents = [server.begin("readTextFile", path="f") for _ in range(20)]
    slow = server.begin("exec", command="sleep", args=["600"])
    server.process.stdin.close()
    assert all(len(server.finish(ident)["content"]) == 50_000 for ident in idents)
    assert server.finish(slow)["error"] == "Cancelled"


def test_an_id_that_is_in_use_is_refused(server):
    params = {"name": "exec", "arguments": {"command": "sleep", "args": ["60"]}}
    line = jsonrpc.encode(jsonrpc.Request("same", "tools/call", params))
    server.write(line + line)
    assert "in use" in server.answer("same").error.message


def test_more_calls_than_the_limit_are_refused_and_the_server_goes_on(server):
    idents = [server.begin("exec", command="sleep", args=["60"]) for _ in range(65)]
    assert "calls are running" in server.answer(idents[-1]).error.message
    assert server.request("ping").result == {}


def test_the_end_of_input_ends_running_commands_and_the_server(server, processes_with, canary):
    server.begin("exec", command="sh", args=["-c", "sleep 600; :", canary])
    eventually(lambda: processes_with(canary), "the command runs")
    assert server.close() == 0
    assert not processes_with(canary)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_survives_when_the_server_is_ended(server, processes_with, canary, number):
    server.begin("exec", command="sh", args=["-c", "setsid sh -c 'sleep 600; :' $0 & sleep 600; :", canary])
    eventually(lambda: len(processes_with(canary)) >= 2, "the command and its child run")
    server.process.send_signal(number)
    eventually(lambda: not processes_with(canary), "the command has ended")


def test_the_server_says_what_is_wrong_with_its_arguments(workspace):
    import subprocess
    import sys

    for words, expected in (
        (["--workspace", str(workspace / "none")], "cannot be opened"),
        (["--nope"], "unknown argument '--nope'"),
        (["--policy="], "needs a value"),
        (["--policy", "{"], "--policy: "),
        (["--policy", '{"bounds": {"editBytes": 0}}'], "must be an integer from 1"),
        (["--policy", '{"bounds": {"nope": 1}}'], "there is no bound 'nope'"),
        (["--policy", '{"writable": ["[a"]}'], "not closed"),
    ):
        command = [sys.executable, "-m", "perstack_skill_base", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False
        )
        assert done.returncode == 2
        assert expected in done.stderr
        assert done.stdout == ""


def test_the_server_imports_nothing_heavy(workspace):
    import subprocess
    import sys

    heavy = {"asyncio", "dataclasses", "inspect", "ctypes", "subprocess", "logging", "argparse", "importlib.metadata"}
    code = f"import sys, perstack_skill_base.server; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() == "[]"


def test_AX3_a_number_that_is_none_is_refused_before_any_tool(server):
    for number in (b"NaN", b"Infinity", b"-Infinity"):
        params = b'{"name":"exec","arguments":{"command":"true","timeout":%b}}' % number
        server.write(b'{"jsonrpc":"2.0","id":"nan","method":"tools/call","params":%b}\n' % params)
        assert "not a JSON number" in server.answer(None).error.message
    server.ok("exec", command="true", timeout=1_000)
