"""MCP servers that others wrote, each as a process of its own, answer a real call."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from perstack.events import SkillConnected, SkillNotice, SkillViolation
from perstack.messages import FilePart, ImagePart, JsonValue, text_of
from skills import Events, ask, opened, policy

SERVERS = Path(__file__).parents[2] / "build" / "servers"
NPM = SERVERS / "npm" / "node_modules" / ".bin"
TIMEOUT = 30.0

pytestmark = pytest.mark.interop


def environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(Path.home())}


async def called(workspace: Path, argv: tuple[str, ...], tool: str, **args: JsonValue) -> object:
    """What the server of `argv` answered, after a start that broke no rule of the protocol."""
    events, env = Events(), environment()
    async with opened(workspace, policy("server", argv, env=env), env=env, events=events) as skills:
        answer = await ask(skills["server"].session, tool, **args)
    assert events.of(SkillViolation) == []
    assert events.of(SkillConnected, "server_version") != [""]
    return answer


async def test_server_everything_echoes_adds_and_shows_an_image(tmp_path) -> None:
    env, events = environment(), Events()
    argv = (str(NPM / "mcp-server-everything"),)
    async with opened(tmp_path, policy("everything", argv, env=env), env=env, events=events) as skills:
        session = skills["everything"].session
        assert await ask(session, "echo", message="from perstack") == "Echo: from perstack"
        assert "5" in str(await ask(session, "get-sum", a=2, b=3))
        image = await session.call("get-tiny-image", {}, timeout=TIMEOUT)
        assert any(isinstance(part, ImagePart) and part.mime_type == "image/png" for part in image.contents)
        structured = await session.call("get-structured-content", {"location": "New York"}, timeout=TIMEOUT)
        assert isinstance(structured.structured, dict)
        links = text_of((await session.call("get-resource-links", {"count": 2}, timeout=TIMEOUT)).contents)
        assert links.count("[link to a resource: ") == 2
        reference = await session.call(
            "get-resource-reference", {"resourceType": "Blob", "resourceId": 1}, timeout=TIMEOUT
        )
        assert any(isinstance(part, FilePart) for part in reference.contents)
        assert tmp_path.name in str(await ask(session, "get-roots-list"))
    assert events.of(SkillViolation) == []


async def test_server_everything_reports_progress_while_it_works(tmp_path) -> None:
    env, events = environment(), Events()
    argv = (str(NPM / "mcp-server-everything"),)
    async with opened(tmp_path, policy("everything", argv, env=env), env=env, events=events) as skills:
        session = skills["everything"].session
        await session.call("trigger-long-running-operation", {"duration": 0.2, "steps": 2}, timeout=TIMEOUT)
    assert events.of(SkillViolation) == []
    assert [line for line in events.of(SkillNotice) if line.startswith("progress")] == [
        "progress 1 of 2",
        "progress 2 of 2",
    ]


async def test_server_everything_sees_the_decided_variables_and_no_others(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOST_SECRET", "canary-71b0")
    shown = await called(tmp_path, (str(NPM / "mcp-server-everything"),), "get-env")
    assert shown == environment()


async def test_server_filesystem_writes_a_file_into_the_workspace(tmp_path) -> None:
    target = tmp_path / "hello.txt"
    argv = (str(NPM / "mcp-server-filesystem"), str(tmp_path))
    await called(tmp_path, argv, "write_file", path=str(target), content="from a real server")
    assert target.read_text() == "from a real server"


async def test_server_memory_keeps_what_it_is_told(tmp_path) -> None:
    entity = {"name": "perstack", "entityType": "project", "observations": ["has skills"]}
    store, env = tmp_path / "memory.jsonl", environment()
    env["MEMORY_FILE_PATH"] = str(store)
    async with opened(tmp_path, policy("memory", (str(NPM / "mcp-server-memory"),), env=env), env=env) as skills:
        session = skills["memory"].session
        await ask(session, "create_entities", entities=[entity])
        graph = await ask(session, "read_graph")
    assert [found["name"] for found in graph["entities"]] == ["perstack"]
    assert json.loads(store.read_text().splitlines()[0])["name"] == "perstack"


async def test_mcp_server_time_tells_the_time(tmp_path) -> None:
    argv = (str(SERVERS / "mcp-server-time" / "bin" / "mcp-server-time"),)
    answer = await called(tmp_path, argv, "get_current_time", timezone="Europe/Berlin")
    assert answer["timezone"] == "Europe/Berlin"


@pytest.fixture
def git_repository(tmp_path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=T", "-c", "user.email=t@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "canary-commit"], check=True)
    return tmp_path


async def test_mcp_server_git_reads_a_repository(git_repository) -> None:
    argv = (str(SERVERS / "mcp-server-git" / "bin" / "mcp-server-git"), "--repository", str(git_repository))
    answer = await called(git_repository, argv, "git_log", repo_path=str(git_repository), max_count=1)
    assert "canary-commit" in str(answer)
