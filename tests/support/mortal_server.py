"""An MCP server that dies at a message: ``python -I mortal_server.py LOG NUMBER HOW``.

It reads messages and counts them: 1 is the greeting, 2 its confirmation, 3 asks for the tools, from 4 on come calls. At
message NUMBER it kills itself with SIGKILL: ``unread``, when the message has come and nothing was done; ``half``, in
the middle of the line that answers it; ``after``, when it is answered. LOG gets a line for each call that took effect.
"""

from __future__ import annotations

import json
import os
import signal
import sys

TOOL = {
    "name": "echo",
    "description": "Say the text again.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
}


def mortal_argv(log: str, number: int, how: str) -> list[str]:
    """The command that starts this server."""
    return [sys.executable, "-I", __file__, log, str(number), how]


def main(log: str, number: int, how: str) -> None:
    """Serve until it is time to die, or the input ends."""
    for count, line in enumerate(sys.stdin, start=1):
        last = count == number
        if last and how == "unread":
            os.kill(os.getpid(), signal.SIGKILL)
        request = json.loads(line)
        if "id" in request:
            answer = {"jsonrpc": "2.0", "id": request["id"], "result": result(request, log)}
            data = (json.dumps(answer) + "\n").encode()
            os.write(1, data[: len(data) // 2] if last and how == "half" else data)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)


def result(request: dict, log: str) -> dict:
    """What the server answers."""
    params = request.get("params") or {}
    if request["method"] == "initialize":
        info = {"name": "mortal", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    if request["method"] == "tools/list":
        return {"tools": [TOOL]}
    text = params["arguments"]["text"]
    with open(log, "a") as file:
        file.write(f"{text}\n")
    return {"content": [{"type": "text", "text": f"echo {text}"}]}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
