"""What skills, the model, the journal and the terminal see of this machine's secrets: canaries through whole runs."""

from __future__ import annotations

import base64
import json
import secrets
import sys
from pathlib import Path

import pytest
from perstack.testing.fake_skill import fake_skill_argv
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.project import MODEL_KEY, Project, RunResult
from perstack_proxy.envnames import SAFE_NAMES


def canary(name: str) -> str:
    return f"canary-{name}-{secrets.token_hex(12)}"


def skill(name: str, *, required: str = "[]", options: tuple[str, ...] = ()) -> str:
    command, *args = fake_skill_argv(*options)
    return (
        f'[experts.demo.skills.{name}]\ntype = "mcpStdioSkill"\ncommand = {json.dumps(command)}\n'
        f"args = {json.dumps(args)}\nrequiredEnv = {required}\n"
    )


DEMO = '[experts.demo]\ninstruction = "You are the demo Expert."\n'


def environment_of(result: RunResult) -> dict[str, str]:
    seen = json.loads(result.tool_results["environment"])
    assert isinstance(seen, dict)
    return seen


def show_environment(project: Project, server_env: dict[str, str]) -> RunResult:
    with ModelServer([Turn(calls=[Call("environment", {})]), Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server, env=server_env)
    assert result.exit_code == 0, result.stderr
    return result


def test_T4_T9_V1_V5_C5_a_skill_sees_the_decided_variables_and_no_others(project: Project) -> None:
    project.write(DEMO + skill("probe", required='["WANTED"]', options=("--tools", "environment")))
    hidden = {f"HIDDEN_{n}": canary(f"hidden{n}") for n in range(30)}
    seen = environment_of(show_environment(project, {**hidden, "WANTED": "the-wanted-value"}))
    assert "WANTED" in seen
    by_itself = {"LC_CTYPE"}  # Python sets it in its own environment when it starts without a locale
    assert set(seen) - {"WANTED"} - by_itself <= set(SAFE_NAMES)
    assert not any(value in str(seen) for value in hidden.values())


def test_V2_the_fourteen_safe_variables_arrive_unchanged(project: Project) -> None:
    project.write(DEMO + skill("probe", options=("--tools", "environment")))
    values = {name: f"value-of-{name}" for name in SAFE_NAMES if name not in {"PATH", "HOME"}}
    seen = environment_of(show_environment(project, values))
    assert len(SAFE_NAMES) == 14
    assert {name: seen[name] for name in values} == values
    assert {"PATH", "HOME"} <= seen.keys()


def test_V6_one_skills_secret_is_not_seen_by_another_nor_by_exec(project: Project) -> None:
    project.write(
        DEMO
        + skill("first", required='["FIRST_KEY"]', options=("--tools", "echo"))
        + skill("second", required='["SECOND_KEY"]', options=("--tools", "environment"))
    )
    first, second = canary("first"), canary("second")
    calls = [Call("environment", {}), Call("exec", {"command": "env", "args": []})]
    with ModelServer([Turn(calls=calls), Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server, env={"FIRST_KEY": first, "SECOND_KEY": second})
        sent = str(server.requests[1].body)
    assert "SECOND_KEY" in sent, "the control: the second skill has its own"
    assert "FIRST_KEY" not in sent
    assert first not in result.stdout + result.stderr + sent


def test_V7_a_skill_can_get_a_host_variable_under_its_own_name(project: Project) -> None:
    table = '[{ name = "API_KEY", from = "TEAM_A_KEY", description = "Reads issues." }]'
    project.write(DEMO + skill("probe", required=table, options=("--tools", "environment")))
    value = canary("team")
    seen = environment_of(show_environment(project, {"TEAM_A_KEY": value}))
    assert "API_KEY" in seen
    assert "TEAM_A_KEY" not in seen


@pytest.mark.parametrize("form", ["plain", "base64", "url", "reversed"])
def test_Q14_AO3_W_27_a_secret_that_a_skill_says_is_redacted_everywhere(project: Project, form: str) -> None:
    secret = canary("said") + "/+ä"
    said = {
        "plain": secret,
        "base64": base64.b64encode(secret.encode()).decode(),
        "url": secret.replace("/", "%2F").replace("+", "%2B").replace("ä", "%C3%A4"),
        "reversed": secret[::-1],
    }[form]
    project.write(DEMO + skill("probe", required='["TOKEN"]', options=("--tools", "echo")))
    with ModelServer([Turn(calls=[Call("echo", {"text": "see: " + said})]), Turn(text="it is " + said)]) as server:
        result = project.run("demo", "Go.", server=server, env={"TOKEN": secret})
        sent = json.dumps(server.requests[1].body, ensure_ascii=False)
    stored = "".join(path.read_text() for path in project.state.rglob("*") if path.is_file() and path.suffix != ".key")
    everywhere = result.stdout + result.stderr + sent + stored
    assert (said in everywhere) is (form == "reversed"), "the control: what nobody can know is shown"
    assert ("[redacted:TOKEN]" in everywhere) is (form != "reversed")


TELLTALE = """\
import json, os, sys

token = os.environ["TOKEN"]
info = {"name": token, "version": token}
schema = {"type": "object", "properties": {"text": {"type": "string", "default": token, "enum": [token, "other"]}}}
for line in sys.stdin:
    request = json.loads(line)
    answers = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info},
        "tools/list": {"tools": [{"name": "tell", "description": "Signed in with " + token, "inputSchema": schema}]},
        "tools/call": {"content": [{"type": "text", "text": "told"}]},
    }
    if "id" in request:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": answers[request["method"]]}), flush=True)
"""


@pytest.mark.parametrize("lazy", ["false", "true"])
def test_Q14_AO3_W_27_a_secret_in_what_a_skill_says_of_its_tools_is_redacted_everywhere(
    project: Project, lazy: str
) -> None:
    secret = canary("described") + '/"'
    server = project.directory / "telltale.py"
    server.write_text(TELLTALE)
    project.write(
        f'{DEMO}[experts.demo.skills.probe]\ntype = "mcpStdioSkill"\ncommand = "{sys.executable}"\n'
        f'args = ["{server}"]\nrequiredEnv = ["TOKEN"]\nlazyInit = {lazy}\n'
    )
    for _ in range(2):  # the second run could take what the first one kept
        with ModelServer([Turn(calls=[Call("tell", {"text": "other"})]), Turn(text="done")]) as model:
            result = project.run("demo", "Go.", server=model, env={"TOKEN": secret})
            sent = json.dumps([request.body for request in model.requests])
        assert (result.exit_code, result.tool_results["tell"]) == (0, "told")
        stored = "".join(path.read_text() for path in project.state.rglob("*.json*"))
        inner = json.dumps(secret)[1:-1]
        for place in (result.stdout, result.stderr, stored, sent):
            assert secret not in place
            assert inner not in place
            assert json.dumps(inner)[1:-1] not in place
        assert "Signed in with [redacted:TOKEN]" in sent
        assert "notice" not in result.types


def test_AS9_the_models_key_is_nowhere_in_the_state_directory_nor_in_events(project: Project) -> None:
    with ModelServer([Turn(calls=[Call("exec", {"command": "env", "args": []})]), Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server)
        assert MODEL_KEY in str(server.requests[0].headers), "the control: the key was used"
    stored = b"".join(path.read_bytes() for path in project.state.rglob("*") if path.is_file())
    assert MODEL_KEY.encode() not in stored
    assert MODEL_KEY not in result.stdout + result.stderr
    assert oct(project.state.stat().st_mode & 0o777) == "0o700"
    assert all(path.stat().st_mode & 0o077 == 0 for path in project.state.rglob("*"))


def test_AS10_a_skill_that_asks_for_the_models_key_is_refused_unless_the_user_allows_it(project: Project) -> None:
    project.write(DEMO + skill("probe", required='["OPENAI_API_KEY"]', options=("--tools", "echo")))
    with ModelServer([Turn(text="done")]) as server:
        refused = project.run("demo", "Go.", server=server)
        assert refused.exit_code == 5
        assert "OPENAI_API_KEY" in refused.stderr
        assert server.requests == []
        own = project.directory.parent / "config" / "perstack"
        own.mkdir(parents=True)
        (own / "config.toml").write_text('[policy]\nallowProviderKeys = ["OPENAI_API_KEY"]\n')
        allowed = project.run("demo", "Go.", server=server)
    assert allowed.exit_code == 0, allowed.stderr


def test_AS8_an_env_file_in_the_workspace_is_not_read(project: Project) -> None:
    (project.workspace / ".env").write_text(f"OPENAI_BASE_URL=http://127.0.0.1:9/\nWANTED={canary('planted')}\n")
    project.write(DEMO + skill("probe", required='["WANTED"]', options=("--tools", "environment")))
    with ModelServer([Turn(text="done")]) as server:
        assert project.run("demo", "Go.", server=server).exit_code == 1
        (project.directory / ".env").write_text("WANTED=from-the-projects-own-file\n")
        assert project.run("demo", "Go.", server=server).exit_code == 0, "the control"


def test_W_22_settings_of_one_provider_never_reach_another(project: Project) -> None:
    with ModelServer([Turn(text="wrong", times=None)]) as other, ModelServer([Turn(text="right")]) as right:
        project.write(
            DEMO,
            provider=(
                f'model = "m"\n[provider]\nproviderName = "anthropic"\n[provider.setting]\nbaseUrl = "{other.url}"\n'
                'headers = { "X-Other" = "secret-of-the-other" }\n'
            ),
        )
        result = project.run("demo", "Go.", "--provider", "openai", server=right)
        assert result.exit_code == 0, result.stderr
        assert other.requests == []
        assert "secret-of-the-other" not in str(right.requests[0].headers)


def test_AO2_terminal_commands_of_models_and_skills_never_reach_the_terminal(project: Project) -> None:
    evil = "\x1b]52;c;aGk=\x07\x1b[2J\u202egnp.exe"
    project.write(DEMO + skill("probe", options=("--tools", "echo,fail")))
    calls = [Call("echo", {"text": evil}), Call("fail", {"text": evil}), Call(evil, {})]
    with ModelServer([Turn(calls=calls), Turn(text=f"done {evil}")]) as server:
        result = project.run("demo", evil, "--output", "text", "--verbose", server=server)
        log = project.perstack("log", "--verbose")
    shown = result.stdout + result.stderr + log.stdout + log.stderr
    assert "done" in result.stdout, "the control: the text itself is shown"
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def test_T12_C1_C2_the_local_runtime_says_what_it_does_not_enforce_once(project: Project) -> None:
    with ModelServer([Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server)
    lines = [line for line in result.stderr.splitlines() if "enforces env, and nothing else" in line]
    assert len(lines) == 1
    assert "network" in result.stderr
    assert "filesystem" in result.stderr


def test_T13_a_run_without_a_runtime_wants_isolation_and_never_falls_back(project: Project) -> None:
    with ModelServer([Turn(text="done")]) as server:
        result = project.perstack("run", "-p", "no:runtime-docker", "demo", "Go.", server=server)
        assert result.exit_code != 0
        assert server.requests == []
        assert "'docker'" in result.stderr
        assert "--runtime local" in result.stderr
        control = project.run("demo", "Go.", "-p", "no:runtime-docker", server=server)
    assert control.exit_code == 0


def test_local_is_refused_when_the_policy_requires_more_than_it_enforces(project: Project) -> None:
    project.write(DEMO + '[policy]\nrequire = ["network"]\n')
    with ModelServer([Turn(text="done", times=2)]) as server:
        result = project.run("demo", "Go.", server=server)
        assert (result.exit_code, server.requests) == (5, [])
        assert "network" in result.stderr
        relaxed = project.run("demo", "Go.", "--relax", "network", server=server)
        assert relaxed.exit_code == 0, relaxed.stderr
        assert relaxed.values("initializeRuntime", "relaxedControls") == (["network"],)
        project.write(DEMO + '[policy]\nrequire = ["env"]\n')
        assert project.run("demo", "Go.", server=server).exit_code == 0


def test_AO5_AF3_state_is_kept_outside_of_the_workspace(project: Project) -> None:
    with ModelServer([Turn(text="done")]) as server:
        project.run("demo", "Go.", server=server)
    assert list(project.workspace.iterdir()) == []
    assert list((project.state / "jobs").iterdir())


def test_T16_the_log_lists_every_call_with_arguments_and_result(project: Project) -> None:
    mark = canary("arg")
    script = [Turn(calls=[Call("writeTextFile", {"path": "x", "text": mark})]), Turn(text="done")]
    with ModelServer(script) as server:
        result = project.run("demo", "Go.", server=server)
    log = project.perstack("log", "--job", result.job_id, "--tools", "--json")
    assert log.exit_code == 0
    assert mark in log.stdout
    assert "writeTextFile" in log.stdout
    verified = project.perstack("log", "--job", result.job_id, "--verify")
    assert verified.exit_code == 0, verified.stderr


def test_no_secret_stands_on_a_command_line(project: Project, tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    secret = canary("argv")
    release = tmp_path / "release"
    release.mkdir()
    project.write(DEMO + skill("probe", required='["TOKEN"]', options=("--tools", "block", "--release", str(release))))
    with ModelServer([Turn(calls=[Call("block", {"name": "go"})]), Turn(text="done")]) as server:
        process = project.start(*project.run_args("demo", "Go."), server=server, env={"TOKEN": secret})
        server.wait_requests(1)
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        (release / "go").touch()
        process.communicate(timeout=20)
    assert any(b"fake_skill" in line for line in lines), "the control: the skill was running"
    assert not any(secret.encode() in line or MODEL_KEY.encode() in line for line in lines)
