"""The scripted model: what it says is what the script says, and what it heard is on record."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from perstack.testing.model_server import Call, Gate, ModelRequest, ModelServer, Refuse, Stall, Turn, When, load


def post(server: ModelServer, *messages: dict[str, object], path: str = "/v1/chat/completions") -> httpx2.Response:
    body = {"model": "m", "max_tokens": 9, "messages": list(messages)}
    return httpx2.post(server.url + path, json=body, timeout=20)


def texts(server: ModelServer, *prompts: str) -> list[str]:
    answers = [post(server, {"role": "system", "content": prompt}).json() for prompt in prompts]
    return [answer["choices"][0]["message"]["content"] for answer in answers]


def test_turns_answer_in_order() -> None:
    with ModelServer([Turn(text="one"), Turn(text="two", times=2), Turn(text="rest", times=None)]) as server:
        assert texts(server, *["x"] * 5) == ["one", "two", "two", "rest", "rest"]
        assert server.unused == ()
        assert server.unmatched == []


def test_a_turn_answers_only_the_expert_that_it_is_meant_for() -> None:
    script = [Turn(text="tests", when=When(system="tester")), Turn(text="codes", when=When(system="coder"))]
    with ModelServer(script) as server:
        assert texts(server, "You are a coder.", "You are a tester.") == ["codes", "tests"]


def test_a_predicate_may_be_any_function_of_the_request() -> None:
    script = [Turn(text="tools", when=lambda request: bool(request.tool_names)), Turn(text="none")]
    with ModelServer(script) as server:
        assert texts(server, "x") == ["none"]
        assert [turn.text for turn in server.unused] == ["tools"]


def test_a_script_may_be_a_function() -> None:
    def script(request: ModelRequest) -> Turn:
        return Turn(text=f"{request.index}: {request.said}")

    with ModelServer(script) as server:
        assert texts(server, "a", "b") == ["0: a", "1: b"]


def test_a_request_without_a_turn_is_refused_and_on_record() -> None:
    with ModelServer([Turn(text="one")]) as server:
        assert post(server).status_code == 200
        answer = post(server)
        assert answer.status_code == 400
        assert "no turn" in answer.text
        assert [request.index for request in server.unmatched] == [1]


def test_a_scripts_own_mistake_is_raised_where_the_test_sees_it() -> None:
    def script(request: ModelRequest) -> Turn:
        raise LookupError("my mistake")

    server = ModelServer(script)
    with pytest.raises(LookupError, match="my mistake"), server, suppress(httpx2.RemoteProtocolError):
        post(server)


def test_the_record_has_what_the_client_sent() -> None:
    nonce = uuid.uuid4().hex
    body = {"model": nonce, "messages": [{"role": "user", "content": nonce}]}
    with ModelServer([Turn()]) as server:
        httpx2.post(f"{server.openai_url}/chat/completions", json=body, headers={"X-Nonce": nonce}, timeout=20)
        (request,) = server.requests
    assert request.body == body
    assert request.headers["x-nonce"] == nonce
    assert request.said == nonce
    assert request.wire == "openai-chat"
    assert request.finished >= request.arrived


TOOL_TURN: dict[str, Sequence[dict[str, object]]] = {
    "/v1/chat/completions": [
        {"role": "system", "content": "sys"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "two"}]},
    ],
    "/v1/messages": [
        {"role": "assistant", "content": []},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "one"},
                {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "two"}]},
            ],
        },
    ],
}


@pytest.mark.parametrize("path", TOOL_TURN)
def test_tool_results_of_both_formats_are_read_alike(path: str) -> None:
    with ModelServer([Turn()]) as server:
        post(server, *TOOL_TURN[path], path=path)
    assert server.requests[0].tool_results == ("one", "two")


def test_requests_that_overlap_are_seen_to_overlap() -> None:
    gate = Gate(opens_at=3)
    with ModelServer([Turn(fault=Stall(gate=gate), times=3), Turn()]) as server:
        threads = [threading.Thread(target=post, args=(server,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert server.peak == 3
        post(server)
        assert server.requests[-1].in_flight == 1
    assert gate.is_open


def is_left_alone(server: ModelServer) -> None:
    with suppress(httpx2.RemoteProtocolError):
        post(server)


def test_leaving_ends_answers_that_wait() -> None:
    gate = Gate()
    with ModelServer([Turn(fault=Stall(gate=gate))]) as server:
        thread = threading.Thread(target=is_left_alone, args=(server,))
        thread.start()
        gate.wait_reached()
    thread.join(20)
    assert not thread.is_alive()
    assert not gate.is_open


def test_waiting_for_what_never_comes_ends() -> None:
    with ModelServer() as server:
        with pytest.raises(TimeoutError, match="1 requests"):
            server.wait_requests(1, timeout=0.01)
        with pytest.raises(TimeoutError, match="gate"):
            Gate().wait_reached(timeout=0.01)


def test_a_port_that_is_taken_is_an_error() -> None:
    with ModelServer() as first, pytest.raises(OSError, match="in use"), ModelServer(port=first.port):
        pass


@pytest.mark.parametrize("path", ["/v1/models", "/", "/v1/chat/completions/x"])
def test_other_paths_are_not_found(path: str) -> None:
    with ModelServer([Turn(text="right")]) as server:
        assert post(server).status_code == 200
        assert post(server, path=path).status_code == 404
        assert httpx2.get(server.url + "/v1/messages", timeout=20).status_code == 404


def test_a_file_holds_a_script() -> None:
    data = {
        "turns": [
            {"calls": [{"name": "read", "args": {"path": "a"}}], "when": {"system": "coder"}, "times": None},
            {"text": "broken", "fault": {"type": "refuse", "status": 429, "headers": {"Retry-After": "1"}}},
        ]
    }
    assert load(json.dumps(data).encode()) == (
        Turn(calls=[Call("read", {"path": "a"})], when=When(system="coder"), times=None),
        Turn(text="broken", fault=Refuse(status=429, headers={"Retry-After": "1"})),
    )


@pytest.mark.parametrize("data", ["", "[]", '{"turns": [{"text": 1}]}', '{"turns": [{"fault": {"type": "no-such"}}]}'])
def test_a_file_that_is_no_script_is_an_error(data: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        load(data.encode())


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    nonce = uuid.uuid4().hex
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"turns": [{"text": nonce}]}))
    command = [sys.executable, "-m", "perstack.testing.model_server", "--script", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            answer = httpx2.post(f"{url}/v1/chat/completions", json={"messages": []}, timeout=20).json()
        finally:
            process.terminate()
    assert answer["choices"][0]["message"]["content"] == nonce
