"""An honest MCP server for tests, with a log of its own: ``python -I fake_skill.py [options]``.

    --log FILE     a JSON line at the start and the end of each call: what the server saw, in its own words
    --release DIR  where `block` waits for a file of the given name
    --tools a,b    offer these tools only

Calls run at the same time, each in its own thread, so overlap in the log is overlap in fact.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

Json = dict[str, object]

STRING = {"type": "string"}
POLL_SECONDS = 0.002


def fake_skill_argv(*options: str) -> tuple[str, ...]:
    """The command that starts this server."""
    return (sys.executable, "-I", __file__, *options)


class FakeSkill:
    """The server: tools that say what they are given, fail, wait or count."""

    def __init__(self, *, log: Path | None, release: Path | None, only: frozenset[str]) -> None:
        self._log = log
        self._release = release
        self._counter = itertools.count(1)
        self._writing = threading.Lock()
        tools: dict[str, tuple[str, Json, Callable[[Json], str]]] = {
            "echo": ("Say the text again.", {"text": STRING}, lambda args: str(args["text"])),
            "fail": ("Fail with the text.", {"text": STRING}, self._fail),
            "block": ("Wait until NAME is released.", {"name": STRING}, self._block),
            "counter": ("Count the calls of this tool.", {}, lambda _: str(next(self._counter))),
            "lines": ("Numbered lines.", {"count": {"type": "integer"}}, self._lines),
            "environment": ("Show the variables that this server has.", {}, lambda _: json.dumps(dict(os.environ))),
        }
        self._tools = {name: tool for name, tool in tools.items() if not only or name in only}

    def serve(self) -> None:
        """Answer until standard input ends."""
        for line in sys.stdin:
            request = json.loads(line)
            if "id" in request and "method" in request:
                threading.Thread(target=self._answer, args=(request,), daemon=True).start()

    def _answer(self, request: Json) -> None:
        method, params = request["method"], request.get("params") or {}
        assert isinstance(params, dict)
        if method == "initialize":
            info = {"name": "fake-skill", "version": "1.0"}
            result: Json = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": info,
            }
        elif method == "tools/list":
            result = {"tools": [self._describe(name) for name in self._tools]}
        elif method == "tools/call":
            result = self._call(str(params["name"]), params.get("arguments") or {})
        else:
            result = {}
        self._send({"jsonrpc": "2.0", "id": request["id"], "result": result})

    def _describe(self, name: str) -> Json:
        description, properties, _ = self._tools[name]
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        return {"name": name, "description": description, "inputSchema": schema}

    def _call(self, name: str, args: Json) -> Json:
        self._note("start", name, args)
        try:
            text, failed = self._tools[name][2](args), False
        except Exception as error:  # noqa: BLE001 - a tool's failure is a result
            text, failed = f"{type(error).__name__}: {error}", True
        self._note("end", name, args)
        return {"content": [{"type": "text", "text": text}], "isError": failed}

    def _lines(self, args: Json) -> str:
        return "\n".join(f"line {number}" for number in range(int(str(args["count"]))))

    def _fail(self, args: Json) -> str:
        raise ValueError(args["text"])

    def _block(self, args: Json) -> str:
        assert self._release is not None, "block needs --release"
        while not (self._release / str(args["name"])).exists():
            time.sleep(POLL_SECONDS)
        return f"released {args['name']}"

    def _note(self, event: str, name: str, args: Json) -> None:
        if self._log is not None:
            line = {"event": event, "tool": name, "args": args, "pid": os.getpid(), "time": time.time()}
            with self._writing, self._log.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def _send(self, message: Json) -> None:
        with self._writing:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()


def main() -> None:
    """Serve with the options of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path)
    parser.add_argument("--release", type=Path)
    parser.add_argument("--tools", default="")
    options = parser.parse_args()
    only = frozenset(name for name in options.tools.split(",") if name)
    FakeSkill(log=options.log, release=options.release, only=only).serve()


if __name__ == "__main__":
    main()
