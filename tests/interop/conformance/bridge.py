"""A server over standard streams that passes every message on to one over HTTP: ``bridge.py URL``."""

from __future__ import annotations

import json
import sys

import anyio
import httpx2


class Bridge:
    """Both directions: lines from standard input are posted, and what comes back is written as lines."""

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self._url = url
        self._client = client
        self._headers = {"accept": "application/json, text/event-stream"}

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            async for line in anyio.wrap_file(sys.stdin):
                message = json.loads(line)
                if "id" in message and "method" in message and message["method"] != "initialize":
                    tasks.start_soon(self._post, message)
                else:
                    await self._post(message)
                if message.get("method") == "notifications/initialized":
                    tasks.start_soon(self._listen)
            tasks.cancel_scope.cancel()

    async def _post(self, message: dict[str, object]) -> None:
        async with self._client.stream("POST", self._url, json=message, headers=self._headers) as response:
            if session := response.headers.get("mcp-session-id"):
                self._headers["mcp-session-id"] = session
            await self._write(response)
        if message.get("method") == "initialize":
            self._headers["mcp-protocol-version"] = "2025-11-25"

    async def _listen(self) -> None:
        async with self._client.stream("GET", self._url, headers=self._headers) as response:
            await self._write(response)

    async def _write(self, response: httpx2.Response) -> None:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            async for event in httpx2.EventSource(response):
                if event.data:
                    self._line(event.data)
        elif response.headers.get("content-type", "").startswith("application/json"):
            self._line((await response.aread()).decode())

    def _line(self, text: str) -> None:
        sys.stdout.write(json.dumps(json.loads(text)) + "\n")
        sys.stdout.flush()


async def main(url: str) -> None:
    async with httpx2.AsyncClient(timeout=None, trust_env=False) as client:
        await Bridge(url, client).run()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
