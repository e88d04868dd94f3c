"""The reference SDK's client understands the server."""

from __future__ import annotations

import sys


async def test_the_reference_client_initialises_lists_and_calls(workspace, canary):
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "perstack_skill_base", "--workspace", str(workspace)]
    )
    async with stdio_client(parameters) as (reader, writer), ClientSession(reader, writer) as session:
        await session.initialize()
        assert len((await session.list_tools()).tools) == 22
        written = await session.call_tool("writeTextFile", {"path": "a", "text": canary})
        assert not written.is_error
        failed = await session.call_tool("exec", {"command": "false"})
        assert failed.is_error
        assert failed.structured_content["exitCode"] == 1
    assert (workspace / "a").read_text() == canary
