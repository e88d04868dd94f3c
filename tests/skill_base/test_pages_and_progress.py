"""Long files and long outputs are read page by page, edits are made together, and commands tell what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack_proxy.file_policy import FilePolicy
from perstack_skill_base.tools.read import page


def test_a_file_of_one_endless_line_is_read_by_bytes_to_its_end(server, workspace):
    text = "äöü" * 100_000
    (workspace / "line").write_text(text)
    pages, offset = [], 0
    while offset is not None:
        result = server.ok("readTextFile", path="line", offset=offset)
        pages.append(result["content"])
        offset = result.data.get("nextOffset")
    assert "".join(pages) == text
    assert len(pages) > 1
    assert server.ok("readTextFile", path="line", offset=-4)["content"] == "öü"
    assert "offset=" in server.ok("readTextFile", path="line")["hint"]


@given(st.text(alphabet="aä€😀", min_size=1, max_size=40), st.integers(4, 20))
def test_pages_of_any_text_put_together_are_the_text(text, size):
    data, read, offset = text.encode(), "", 0
    while offset is not None:
        part = page(data[offset : offset + size], offset, len(data))
        read += part["content"]
        offset = part.get("nextOffset")
    assert read == text


def test_lines_and_bytes_are_not_mixed(server, workspace):
    (workspace / "a").write_text("x")
    assert server.refused("readTextFile", path="a", offset=0, to=1)[0] == "InvalidArguments"


def test_several_edits_are_all_made_or_none(server, workspace):
    (workspace / "a").write_text("one two three\n")
    edits = [{"oldText": "one", "newText": "1"}, {"oldText": "1 two", "newText": "2"}]
    assert server.ok("editTextFileMany", path="a", edits=edits)["replacements"] == [1, 1]
    assert (workspace / "a").read_text() == "2 three\n"
    wrong = [{"oldText": "three", "newText": "3"}, {"oldText": "missing", "newText": ""}]
    kind, message = server.refused("editTextFileMany", path="a", edits=wrong)
    assert kind == "NotFound"
    assert message.startswith("Edit 2 of 2: ")
    assert message.endswith("No edit was made.")
    assert (workspace / "a").read_text() == "2 three\n"


def progress(server, token, **arguments):
    ident = server.start("tools/call", name="exec", arguments=arguments, _meta={"progressToken": token})
    result = server.finish(ident)
    told = [message.params for message in server.notifications if message.method == "notifications/progress"]
    server.notifications.clear()
    return result, told


def test_a_command_tells_what_it_prints_while_it_runs(server):
    code = "import time\nfor n in range(8):\n print('line', n, flush=True); time.sleep(0.15)"
    result, told = progress(server, "token-1", command=sys.executable, args=["-c", code])
    assert len(told) >= 2
    assert {message["progressToken"] for message in told} == {"token-1"}
    numbers = [message["progress"] for message in told]
    assert numbers == sorted(set(numbers))
    text = "".join(message["message"] for message in told)
    assert result["stdout"].startswith(text)
    assert all(message["message"].endswith("\n") for message in told)


def test_progress_is_seldom_and_short_whatever_is_printed(server):
    code = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: print('x' * 10_000, flush=True)"
    _, told = progress(server, 7, command=sys.executable, args=["-c", code])
    assert 1 <= len(told) <= 8
    assert all(len(message["message"]) <= 2_048 for message in told)


def test_no_progress_is_told_without_a_token(server):
    server.ok("exec", command=sys.executable, args=["-c", "import time; print(1, flush=True); time.sleep(0.6)"])
    assert server.notifications == []


def test_only_the_last_outputs_are_kept_and_none_has_a_name(server, workspace):
    idents = [server.ok("exec", command="seq", args=["1", "30000"])["outputId"] for _ in range(10)]
    assert server.ok("readExecOutput", outputId=idents[-1], offset=-6)["content"] == "30000\n"
    kind, message = server.refused("readExecOutput", outputId=idents[0])
    assert kind == "NotFound"
    assert f"{idents[-1]} (stdout)" in message
    assert server.refused("readExecOutput", outputId=idents[-1], stream="stdin")[0] == "InvalidArguments"
    open_files = [os.readlink(f"/proc/{server.pid}/fd/{name}") for name in os.listdir(f"/proc/{server.pid}/fd")]
    spills = [path for path in open_files if "(deleted)" in path]
    assert len(spills) == 8


def test_without_a_place_for_temporary_files_only_the_rest_of_an_output_is_missing(launch, workspace, tmp_path):
    server = launch(workspace, env={**os.environ, "TMPDIR": str(tmp_path / "missing")})
    result = server.ok("exec", command="seq", args=["1", "30000"])
    assert result["output"].startswith("1\n2\n")
    assert result["truncated"]
    assert "outputId" not in result.data
    assert list(workspace.iterdir()) == []


@given(st.lists(st.text(alphabet="abc.ABC*", min_size=1, max_size=6), min_size=1, max_size=4))
def test_below_a_control_or_secret_file_everything_is_one_and_case_does_not_matter(parts):
    policy = FilePolicy()
    for name in (".git", "Perstack.TOML", ".ENV.local"):
        assert policy.control((*parts, name, "x")) is not None
        assert policy.control((name.upper(), *parts)) is not None
    assert policy.secret((*parts, ".SSH", "known"))
    assert FilePolicy(writable=["**"]).control((*parts, ".git")) is None


WINDOWS = (
    "import os, sys; import perstack_skill_base.server as s; s.os.name = 'nt'\n"
    "code = s.main(); os.name = 'posix'; sys.exit(code)"
)


@pytest.mark.parametrize(
    "code", [WINDOWS, WINDOWS.replace("s.os.name = 'nt'", "s.os.supports_dir_fd.discard(s.os.open)")]
)
def test_O6_a_system_without_handles_is_refused_with_one_sentence_that_says_what_to_use(workspace, code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=workspace, capture_output=True, text=True, timeout=20,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "container runtime" in done.stderr
    control = subprocess.run(
        [sys.executable, "-m", "perstack_skill_base"], cwd=workspace, capture_output=True, timeout=20,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert (control.returncode, control.stderr) == (0, b"")


def test_a_policy_reaches_the_schemas(launch, workspace):
    policy = json.dumps({"bounds": {"searchResults": 7, "execMaxTimeoutMs": 1_000}})
    tools = {tool["name"]: tool for tool in launch(workspace, command=[*launch.command, "--policy", policy]).request(
        "tools/list").result["tools"]}  # fmt: skip
    assert tools["searchFiles"]["inputSchema"]["properties"]["maxResults"]["maximum"] == 7
    assert tools["exec"]["inputSchema"]["properties"]["timeout"]["maximum"] == 1_000
