"""Which model a job asks, what is known of it, and what it costs."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from perstack.messages import Usage, object_of
from perstack.testing.model_server import Call, ModelServer, Refuse, Turn
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.project import Project

LOOK = (Call("listDirectory", {"path": "."}),)
DEMO = '[experts.demo]\ninstruction = "You are the demo Expert."\n'
HEAD = '[provider]\nproviderName = "openai"\n'
SPENT = Usage(input_tokens=1_000, output_tokens=100, cached_input_tokens=600, total_tokens=1_100)
PRICES = '[models."m"]\nprices = { input = 10, output = 50, cachedInput = 1 }\n'
COST = (400 * 10 + 600 * 1 + 100 * 50) / 1_000_000


def test_a_job_stops_when_its_money_is_used_up(project: Project) -> None:
    project.write(PRICES + DEMO, provider='model = "m"\n' + HEAD)
    with ModelServer([Turn(calls=LOOK, usage=SPENT, times=None)]) as server:
        result = project.run("demo", "Go.", "--max-cost", str(2.5 * COST), server=server)
    assert result.exit_code == 3
    assert len(server.requests) == 3
    assert result.values("stopRunByBudget", "budget") == ("cost",)
    steps = result.values("callTools", "usage", "cost")
    assert steps == pytest.approx([COST] * 3)
    (run,) = result.values("stopRunByBudget", "checkpoint", "usage", "cost")
    assert run == pytest.approx(3 * COST)


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=-5_000_000, output_tokens=-1, total_tokens=-5_000_001),
        Usage(input_tokens=0, output_tokens=0, cached_input_tokens=10**9, total_tokens=10**9),
        Usage(input_tokens=10**30, output_tokens=-(10**30), total_tokens=10**30),
    ],
    ids=["negative", "more read from a cache than read", "huge"],
)
def test_a_server_cannot_give_money_or_tokens_back(project: Project, usage: Usage) -> None:
    project.write(PRICES + DEMO, provider='model = "m"\n' + HEAD)
    turns = [Turn(calls=LOOK, usage=SPENT), Turn(calls=LOOK, usage=usage), Turn(text="done")]
    with ModelServer(turns) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 0, result.stderr
    costs = result.values("callTools", "usage", "cost")
    assert costs[0] == pytest.approx(COST), "the control"
    assert float(str(costs[1])) >= 0
    assert all(count >= 0 for event in result.of("callTools") for count in object_of(event["usage"]).values())
    assert project.perstack("log", "--json").exit_code == 0


def test_the_log_says_what_a_job_cost(project: Project) -> None:
    project.write(PRICES + DEMO, provider='model = "m"\n' + HEAD)
    with ModelServer([Turn(text="done", usage=SPENT)]) as server:
        result = project.run("demo", "Go.", server=server)
    (told,) = [json.loads(line) for line in project.perstack("log", "--json", "--summary").stdout.splitlines() if line]
    assert result.exit_code == 0
    assert str(told).count("0.0096") >= 1


def test_a_job_of_unknown_price_runs_without_a_cost_and_not_with_a_limit_of_it(project: Project) -> None:
    project.write(DEMO, provider='model = "nobody-knows"\n' + HEAD)
    with ModelServer([Turn(text="done")]) as server:
        free = project.run("demo", "Go.", server=server)
        limited = project.run("demo", "Go.", "--max-cost", "1", server=server)
    assert (free.exit_code, free.one("completeRun")["usage"]["cost"]) == (0, None)
    assert limited.exit_code == 1
    assert "no price of model 'nobody-knows' is known" in limited.stderr
    assert len(server.requests) == 1


def test_the_next_model_is_asked_where_one_keeps_failing(project: Project) -> None:
    project.write(DEMO, provider='model = ["first", "second", "third"]\nmaxRetries = 1\n' + HEAD)

    def script(request: ModelRequest) -> Turn:
        if request.body["model"] == "first":
            return Turn(fault=Refuse(status=503, headers={"Retry-After": "0"}))
        return Turn(text="done") if request.tool_results else Turn(calls=LOOK)

    with ModelServer(script) as server:
        result = project.run("demo", "Go.", server=server)
    assert (result.exit_code, result.answer) == (0, "done")
    assert [request.body["model"] for request in server.requests] == ["first", "first", "second", "second"]
    event = result.one("changeModel")
    assert (event["previousModel"], event["model"]) == ("first", "second")
    assert "503" in event["reason"]


def test_a_failure_that_lasts_is_no_reason_to_ask_another_model(project: Project) -> None:
    project.write(DEMO, provider='model = ["first", "second"]\n' + HEAD)
    with ModelServer([Turn(fault=Refuse(status=401), times=None)]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 2
    assert [request.body["model"] for request in server.requests] == ["first"]
    assert result.of("changeModel") == ()


def test_when_no_model_is_left_the_last_ones_failure_ends_the_run(project: Project) -> None:
    project.write(DEMO, provider='model = ["first", "second"]\nmaxRetries = 0\n' + HEAD)
    with ModelServer([Turn(fault=Refuse(status=503), times=None)]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 2
    assert [request.body["model"] for request in server.requests] == ["first", "second"]


def test_W_58_what_the_configuration_says_of_a_model_is_what_is_asked_of_it(project: Project) -> None:
    table = '[models."m"]\nreasoning = true\nefforts = ["minimal", "high"]\nmaxOutput = 77\ncontextWindow = 1000000\n'
    project.write(table + DEMO, provider='model = "m"\n' + HEAD)
    with ModelServer([Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server)
    (sent,) = server.requests
    assert (sent.body["reasoning_effort"], sent.body["max_completion_tokens"]) == ("minimal", 77)
    assert result.one("completeRun")["checkpoint"]["contextWindow"] == 1_000_000


def test_a_model_that_takes_no_tools_is_refused_before_anything_is_asked(project: Project) -> None:
    project.write(DEMO, provider='model = "gemma3:4b"\n[provider]\nproviderName = "ollama"\n')
    with ModelServer([Turn(text="done", times=None)]) as server:
        env = {"OLLAMA_BASE_URL": server.url}
        refused = project.run("demo", "Go.", env=env, server=server)
        assert server.requests == []
        project.write(
            '[models."gemma3:4b"]\ntools = true\n' + DEMO,
            provider='model = "gemma3:4b"\n[provider]\nproviderName = "ollama"\n',
        )
        taken = project.run("demo", "Go.", env=env, server=server)
    assert (refused.exit_code, taken.exit_code) == (1, 0)
    assert "takes no tools" in refused.stderr


def test_every_step_begins_with_the_bytes_of_the_step_before(project: Project, tmp_path: Path) -> None:
    def script(request: ModelRequest) -> Turn:
        return Turn(text="done") if request.index == 4 else Turn(text=f"step {request.index}", calls=LOOK)

    with ModelServer(script) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 0
    raw = [request.raw for request in server.requests]
    assert len(raw) == 5
    for earlier, later in pairwise(raw):
        assert later.startswith(earlier.removesuffix(b"]}"))


def test_the_models_traffic_goes_through_the_proxy_of_the_environment(project: Project) -> None:
    project.write(DEMO, provider='model = "m"\nmaxRetries = 0\n' + HEAD)
    with ModelServer() as server:
        # The model server is no proxy: that it was asked to be one is the evidence.
        env = {
            "OPENAI_BASE_URL": "https://192.0.2.1/v1",
            "HTTPS_PROXY": f"http://user:secret-of-the-proxy@127.0.0.1:{server.port}",
        }
        result = project.run("demo", "Go.", "--timeout", "4000", env=env)
    assert result.exit_code == 2
    assert server.connections == 1
    assert "secret-of-the-proxy" not in result.stdout + result.stderr


def test_a_run_whose_model_cannot_be_reached_says_where_it_looked_and_what_to_do(project: Project) -> None:
    with ModelServer() as server:
        port = server.port
    project.write(DEMO, provider='model = "m"\nmaxRetries = 0\n' + HEAD)
    result = project.run("demo", "Go.", env={"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"})
    assert result.exit_code == 2
    (message,) = result.values("stopRunByError", "error", "message")
    for part in (f"http://127.0.0.1:{port}", "Start the server"):
        assert part in str(message)


def test_a_proxy_that_cannot_be_used_is_said_by_its_variable(project: Project) -> None:
    project.write(DEMO, provider='model = "m"\nmaxRetries = 0\n' + HEAD)
    for url in ("http://[", "socks5://127.0.0.1:1", "http://me:canary-password@127.0.0.1:99999"):
        result = project.run("demo", "Go.", env={"HTTPS_PROXY": url})
        assert result.exit_code == 1
        assert "HTTPS_PROXY names no proxy that can be used" in result.stderr
        assert "internal error" not in result.stderr
        assert "canary-password" not in result.stdout + result.stderr


def test_a_variable_that_names_no_certificates_is_said_by_its_name(project: Project, tmp_path: Path) -> None:
    project.write(DEMO, provider='model = "m"\nmaxRetries = 0\n' + HEAD)
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for path in (broken, tmp_path, tmp_path / "missing.pem"):
        result = project.run("demo", "Go.", env={"SSL_CERT_FILE": str(path)})
        assert result.exit_code == 1
        assert f"SSL_CERT_FILE is {str(path)!r}" in result.stderr
        assert "internal error" not in result.stderr


def test_models_of_bedrock_are_known_by_the_names_that_it_gives_them(project: Project) -> None:
    table = 'model = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"\n[provider]\nproviderName = "amazon-bedrock"\n'
    with ModelServer([Turn(text="done", usage=SPENT)]) as server:
        settings = f'[provider.setting]\nregion = "eu-central-1"\nbaseUrl = "{server.url}"\n'
        project.write(DEMO, provider=table + settings)
        result = project.run("demo", "Go.", "--max-cost", "1", server=server, env={"AWS_BEARER_TOKEN_BEDROCK": "key-x"})
    assert result.exit_code == 0, result.stderr
    (spent,) = result.values("completeRun", "usage", "cost")
    assert spent == pytest.approx((400 * 3 + 600 * 0.3 + 100 * 15) / 1_000_000)
