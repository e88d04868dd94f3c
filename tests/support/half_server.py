"""An MCP server whose every text ends in half a character, which JSON can carry and UTF-8 cannot."""

from __future__ import annotations

import json
import sys

HALF = "\ud83d"


def answer(method: str) -> dict[str, object]:
    """The result of a request."""
    if method == "initialize":
        name = {"name": f"half{HALF}", "version": f"1{HALF}"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": name}
    if method == "tools/list":
        schema = {"type": "object", "properties": {f"a{HALF}": {"description": HALF}}}
        return {"tools": [{"name": "half", "description": f"Says half.{HALF}", "inputSchema": schema}]}
    return {"content": [{"type": "text", "text": f"said half{HALF}"}]}


def main() -> None:
    """Answer until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request:
            reply = {"jsonrpc": "2.0", "id": request["id"], "result": answer(request["method"])}
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
