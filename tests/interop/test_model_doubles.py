"""Model servers that others wrote: whole runs in every format, and a verdict on how we take their failures."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from perstack.messages import JsonObject
from perstack.testing.project import Project

SERVERS = Path(__file__).parents[2] / "build" / "servers"
AIMOCK = SERVERS / "npm" / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
LLMOCK = SERVERS / "llmock" / "bin" / "python"
SECONDS = 20.0
URL = re.compile(r"http://127\.0\.0\.1:\d+")

pytestmark = pytest.mark.interop


@dataclass(frozen=True, kw_only=True)
class Case:
    """A provider as a run is told of it; ``{url}`` is the server's."""

    provider: str
    settings: str = ""
    env: dict[str, str] = field(default_factory=dict)
    model: str = "test-model"
    path: str = ""

    def table(self, url: str) -> str:
        setting = f"[provider.setting]\n{self.settings.format(url=url)}\n" if self.settings else ""
        return f'model = "{self.model}"\n[provider]\nproviderName = "{self.provider}"\n{setting}'

    def variables(self, url: str) -> dict[str, str]:
        return {name: value.format(url=url) for name, value in self.env.items()}


CHAT = Case(provider="openai", env={"OPENAI_BASE_URL": "{url}/v1"}, path="/v1/chat/completions")
RESPONSES = Case(
    provider="openai", settings='api = "responses"', env={"OPENAI_BASE_URL": "{url}/v1"}, path="/v1/responses"
)
ANTHROPIC = Case(provider="anthropic", env={"ANTHROPIC_BASE_URL": "{url}"}, path="/v1/messages")
KEY = {"GOOGLE_GENERATIVE_AI_API_KEY": "key-of-a-test"}
GOOGLE = Case(
    provider="google", env={"GOOGLE_GENERATIVE_AI_BASE_URL": "{url}/v1beta", **KEY}, path=":streamGenerateContent"
)
VERTEX_URL = "{url}/v1/projects/p/locations/us-central1/publishers/google"
AWS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret-of-a-test", "AWS_REGION": "us-east-1"}
CASES = {
    "chat": CHAT,
    "responses": RESPONSES,
    "anthropic": ANTHROPIC,
    "google": GOOGLE,
    "vertex": Case(
        provider="google-vertex",
        settings=f'baseUrl = "{VERTEX_URL}"\nheaders = {{{{ authorization = "Bearer token-of-a-test" }}}}',
        path=":streamGenerateContent",
    ),
    "azure": Case(
        provider="azure-openai",
        settings='useDeploymentBasedUrls = true\napiVersion = "2025-04-01-preview"',
        env={"AZURE_BASE_URL": "{url}/openai", "AZURE_API_KEY": "key-of-a-test"},
        path="/chat/completions",
    ),
    "ollama": Case(provider="ollama", env={"OLLAMA_BASE_URL": "{url}"}, path="/v1/chat/completions"),
    "deepseek": Case(
        provider="deepseek",
        env={"DEEPSEEK_BASE_URL": "{url}", "DEEPSEEK_API_KEY": "key-of-a-test"},
        path="/chat/completions",
    ),
    "bedrock": Case(
        provider="amazon-bedrock",
        settings='baseUrl = "{url}"',
        env=AWS,
        model="amazon.nova-lite-v1:0",  # the double knows no cache points, which Claude gets
        path="/converse-stream",
    ),
}
DEMO = '[experts.demo]\ninstruction = "You are the demo Expert."\n'
LOOK = {"name": "listDirectory", "arguments": {"path": "."}}
DONE = {"name": "attemptCompletion", "arguments": {"result": "done by the double"}}
FIXTURES = [
    {
        "match": {"hasToolResult": False},
        "response": {"toolCalls": [LOOK, {"name": "readTextFile", "arguments": {"path": "note.txt"}}]},
    },
    {"match": {"hasToolResult": True}, "response": {"toolCalls": [DONE]}},
]


@contextmanager
def started(*argv: str) -> Iterator[str]:
    """A server's URL, which is in one of its first lines; it ends with the context."""
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as one:
        try:
            found = next(filter(None, map(URL.search, one.stdout)), None)
            assert found is not None, "the server ended before it listened"
            yield found[0]
        finally:
            one.kill()


def asked(url: str, behaviours: list[JsonObject] | None = None) -> JsonObject:
    data = None if behaviours is None else json.dumps({"behaviors": behaviours}).encode()
    with urlopen(Request(url, data=data), timeout=SECONDS) as answer:
        return json.loads(answer.read())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, DEMO)


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    fixtures = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    fixtures.write_text(json.dumps({"fixtures": FIXTURES}))
    with started("node", str(AIMOCK), "-p", "0", "-f", str(fixtures), "--strict", "--validate-on-load") as url:
        yield url


@pytest.fixture
def llmock() -> Iterator[str]:
    with started(str(LLMOCK), str(Path(__file__).parents[1] / "support" / "llmock_server.py")) as url:
        yield url


@pytest.mark.parametrize("name", CASES)
def test_a_whole_run_with_parallel_calls_in_every_format(aimock: str, project: Project, name: str) -> None:
    case = CASES[name]
    project.write(DEMO, provider=case.table(aimock))
    (project.workspace / "note.txt").write_text("a note")
    before = len(asked(f"{aimock}/__aimock/journal"))
    result = project.run("demo", "Go.", env=case.variables(aimock))
    assert result.exit_code == 0, result.values("retry", "reason")
    assert result.answer == "done by the double"
    assert set(result.tool_results) == {"listDirectory", "readTextFile", "attemptCompletion"}
    assert result.tool_results["readTextFile"].count("a note") == 1
    seen = asked(f"{aimock}/__aimock/journal")[before:]
    assert len(seen) == 2
    assert all(case.path in entry["path"] for entry in seen)


TEXT = {"type": "reply", "text": "done by the double, in a text that is long enough for several pieces of a stream"}
CALL = {"type": "reply", "tool_calls": [LOOK]}
FAULTS = {
    "429-with-retry-after": {"type": "fail", "status": 429, "retry_after": 1.2, "times": 2},
    "429": {"type": "fail", "status": 429, "times": 2},
    "500": {"type": "fail", "status": 500, "times": 3},
    "503": {"type": "fail", "status": 503, "times": 1},
    "529": {"type": "fail", "status": 529, "times": 2},
    "disconnect": {"type": "stream_fault", "kind": "disconnect", "after_chunks": 2},
    "truncate": {"type": "stream_fault", "kind": "truncate", "after_chunks": 2},
    "malformed": {"type": "stream_fault", "kind": "malformed", "after_chunks": 1},
    "slow": {"type": "slow_first_token", "seconds": 0.5},
    "unknown-tool": {"type": "tool_fault", "kind": "unknown_tool"},
}
LLMOCK_CASES = {
    "chat": CHAT,
    "responses": RESPONSES,
    "anthropic": Case(provider="anthropic", env={"ANTHROPIC_BASE_URL": "{url}/anthropic"}),
    "google": Case(provider="google", env={"GOOGLE_GENERATIVE_AI_BASE_URL": "{url}/gemini/v1beta", **KEY}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", LLMOCK_CASES)
def test_W_17_the_verdict_on_a_run_with_a_failure_is_clean(
    llmock: str, project: Project, name: str, fault: str
) -> None:
    case = LLMOCK_CASES[name]
    project.write(DEMO, provider=case.table(llmock))
    # A stream has to be long enough to break: some send calls in one piece.
    replies = [TEXT] if FAULTS[fault]["type"] == "stream_fault" else [CALL, TEXT]
    asked(f"{llmock}/_llmock/scenario", [FAULTS[fault], *replies, {**TEXT, "times": None}])
    result = project.run("demo", "Go.", env=case.variables(llmock))
    verdict = asked(f"{llmock}/_llmock/verdict")
    findings = [finding["code"] for finding in verdict["findings"]]
    if result.values("retry", "reason"):  # an answer that was out whole before the client hung up looks read to the end
        findings = [code for code in findings if code != "malformed_chunk_ignored"]
    assert (findings, verdict["passed"]) == ([], True)
    assert verdict["faults_injected"] >= 1 or fault in {"slow", "unknown-tool"}
    assert (result.exit_code, result.answer) == (0, TEXT["text"]), result.stderr


@pytest.mark.parametrize("name", LLMOCK_CASES)
@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_W_17_the_verdict_on_a_failure_that_lasts_is_clean(
    llmock: str, project: Project, name: str, status: int
) -> None:
    case = LLMOCK_CASES[name]
    project.write(DEMO, provider=case.table(llmock))
    asked(f"{llmock}/_llmock/scenario", [{"type": "fail", "status": status, "times": None}])
    result = project.run("demo", "Go.", env=case.variables(llmock))
    verdict = asked(f"{llmock}/_llmock/verdict")
    assert (verdict["findings"], verdict["attempts"]) == ([], 1)
    assert result.exit_code == 2
    assert str(status) in result.one("stopRunByError")["error"]["message"]
