"""examples/team as it is: a lead, two delegates side by side, and two MCP servers that others wrote."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from perstack.testing.model_server import Call, ModelServer, Turn, When
from perstack.testing.project import Project

ROOT = Path(__file__).parents[2]
SERVERS = ROOT / "build" / "servers"
PATH = os.pathsep.join([*(str(SERVERS / f"mcp-server-{name}" / "bin") for name in ("time", "git")), os.environ["PATH"]])

pytestmark = pytest.mark.interop


def commit(workspace: Path, subject: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@perstack.example"]
    subprocess.run(["git", "init", "-q"], cwd=workspace, check=True)
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", subject], cwd=workspace, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=workspace, capture_output=True, text=True, check=True)
    return head.stdout.strip()


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_the_lead_hears_from_a_real_clock_and_a_real_repository(tmp_path, provider: str) -> None:
    project = Project(tmp_path, (ROOT / "examples" / "team" / "perstack.toml").read_text(), provider="")
    head = commit(project.workspace, f"Plant 7 roses for {provider}")
    lead, clock, historian = (When(system=text) for text in ("Ask clock", "with the time", "Look the answer up"))
    calls = [Call("clock", {"query": "Tokyo?"}), Call("historian", {"query": "The last commit?"})]
    script = [
        Turn(when=lead, calls=calls),
        Turn(when=clock, calls=[Call("get_current_time", {"timezone": "Asia/Tokyo"})]),
        Turn(when=historian, calls=[Call("git_log", {"repo_path": str(project.workspace), "max_count": 1})]),
        Turn(when=clock, text="It is late in Tokyo."),
        Turn(when=historian, text="Roses were planted."),
        Turn(when=lead, text="Late, and roses."),
    ]
    with ModelServer(script) as server:
        options = ("--provider", provider, "--model", "any")
        result = project.run("lead", "What time, what commit?", *options, server=server, env={"PATH": PATH})
    assert (result.exit_code, result.answer) == (0, "Late, and roses."), result.stderr
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+09:00", result.tool_results["get_current_time"])
    assert head in result.tool_results["git_log"]
    assert f"Plant 7 roses for {provider}" in result.tool_results["git_log"]
    heard = str(server.requests[-1].body)
    assert "It is late in Tokyo." in heard
    assert "Roses were planted." in heard
