"""The MCP server: requests from standard input, calls on threads, answers to standard output as they are ready.

Every request is answered, except a cancelled one, as the protocol asks. When the input ends or the server is told to
end, running commands are ended and the other calls finish.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from perstack_proxy import jsonrpc
from perstack_proxy.file_policy import FilePolicy
from perstack_proxy.jsonrpc import ErrorObject, Notification, Request, RequestId, Response
from perstack_proxy.limits import KIB, KILL_SETTLE_SECONDS, SERVER_LIMITS, TERM_GRACE_SECONDS

from perstack_skill_base import __version__
from perstack_skill_base.calls import Arguments, Call, ToolResult
from perstack_skill_base.errors import ToolError, from_os_error
from perstack_skill_base.limits import CONCURRENT_CALLS, Bounds
from perstack_skill_base.outputs import Outputs
from perstack_skill_base.paths import Workspace
from perstack_skill_base.policy import Policy, parse
from perstack_skill_base.schemas import tools
from perstack_skill_base.tools import handler
from perstack_skill_base.tools.todo import TodoList
from perstack_skill_base.validation import check

#: The protocol's revisions that this server speaks, oldest first; an unknown one is answered with the newest.
PROTOCOL_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
_STRUCTURED_SINCE = "2025-06-18"
_READ_BYTES = 64 * KIB


class Server:
    """The state of one connection: what is running, and where answers go."""

    def __init__(self, workspace: Workspace, output: int, bounds: Bounds) -> None:
        self._workspace = workspace
        self._output = output
        self._bounds = bounds
        self._tools = {tool.name: tool for tool in tools(bounds)}
        self._todos = TodoList()
        self._outputs = Outputs()
        self._version = PROTOCOL_VERSIONS[-1]
        self._running: dict[RequestId, threading.Event] = {}
        self._unwanted: set[RequestId] = set()
        self._threads: set[threading.Thread] = set()
        self._state = threading.Lock()
        self._writing = threading.Lock()

    def serve(self, source: int) -> None:
        """Answers until the input ends."""
        splitter = jsonrpc.LineSplitter(SERVER_LIMITS.line_bytes)
        while data := os.read(source, _READ_BYTES):
            splitter.feed(data)
            while True:
                try:
                    line = splitter.next_line()
                    if line is None:
                        break
                    if line.strip():
                        self._receive(jsonrpc.decode(line, limits=SERVER_LIMITS))
                except jsonrpc.MessageError as error:
                    self._send(Response(error.id, error=ErrorObject(error.code, str(error))))

    def close(self) -> None:
        """Commands are ended, other calls finish; no longer than ending a process tree takes."""
        with self._state:
            for cancelled in self._running.values():
                cancelled.set()
            threads = list(self._threads)
        deadline = time.monotonic() + TERM_GRACE_SECONDS + 2 * KILL_SETTLE_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _receive(self, message: jsonrpc.Message) -> None:
        if isinstance(message, Notification):
            if message.method == "notifications/cancelled":
                self._cancel(message.params.get("requestId"))
        elif isinstance(message, Request):
            self._answer(message)
        # A response answers a request, and this server sends none: it is ignored.

    def _answer(self, request: Request) -> None:
        if request.method == "tools/call":
            self._start(request)
        elif request.method == "tools/list":
            self._result(request, {"tools": [tool.wire() for tool in self._tools.values()]})
        elif request.method == "initialize":
            self._result(request, self._initialize(request.params.get("protocolVersion")))
        elif request.method == "ping":
            self._result(request, {})
        else:
            self._error(request, jsonrpc.METHOD_NOT_FOUND, f"unknown method {request.method!r}")

    def _initialize(self, wanted: object) -> dict[str, object]:
        self._version = wanted if isinstance(wanted, str) and wanted in PROTOCOL_VERSIONS else PROTOCOL_VERSIONS[-1]
        return {
            "protocolVersion": self._version,
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": "perstack-skill-base", "version": __version__},
            "instructions": "Paths are relative to the workspace. Symbolic links are not followed.",
        }

    def _start(self, request: Request) -> None:
        name, arguments = request.params.get("name"), request.params.get("arguments", {})
        if not isinstance(name, str) or name not in self._tools:
            self._error(request, jsonrpc.INVALID_PARAMS, f"unknown tool {str(name)[:100]!r}; tools/list names them")
            return
        cancelled = threading.Event()
        thread = threading.Thread(target=self._run, args=(request, name, arguments, cancelled), daemon=True)
        with self._state:
            if request.id in self._running:
                problem = f"the id {request.id!r} is in use by a call that still runs"
            elif len(self._running) >= CONCURRENT_CALLS:
                problem = f"{CONCURRENT_CALLS} calls are running; wait for one to end"
            else:
                problem = ""
                self._running[request.id] = cancelled
                self._threads.add(thread)
        if problem:
            self._error(request, jsonrpc.INVALID_REQUEST, problem)
        else:
            thread.start()

    def _run(self, request: Request, name: str, arguments: object, cancelled: threading.Event) -> None:
        try:
            result = self._call(request, name, arguments, cancelled)
        except ToolError as error:
            result = ToolResult({"error": error.kind, "message": error.message}, is_error=True)
        except OSError as error:
            failure = from_os_error(error, name)
            result = ToolResult({"error": failure.kind, "message": failure.message}, is_error=True)
        except Exception as error:  # noqa: BLE001 - an answer is owed; the cause goes to stderr
            _say(f"{name} failed: {error!r}")
            message = (
                f"{name} failed inside ({type(error).__name__}). Try another way; the server's stderr has the cause."
            )
            result = ToolResult({"error": "InternalError", "message": message}, is_error=True)
        # Taken off the list before it is answered: the client may use the id again as soon as it has the answer.
        with self._state:
            del self._running[request.id]
            self._threads.discard(threading.current_thread())
            wanted = request.id not in self._unwanted
            self._unwanted.discard(request.id)
        if wanted:
            self._result(request, self._wire(result))

    def _call(self, request: Request, name: str, arguments: object, cancelled: threading.Event) -> ToolResult:
        arguments = {} if arguments is None else arguments
        check(arguments, self._tools[name].input_schema)
        assert isinstance(arguments, dict)  # noqa: S101 - the schema says so
        call = Call(
            arguments=Arguments(arguments),
            workspace=self._workspace,
            todos=self._todos,
            outputs=self._outputs,
            bounds=self._bounds,
            cancelled=cancelled,
            progress=self._progress(request),
        )
        return handler(name)(call)

    def _progress(self, request: Request) -> Callable[[int, str], None] | None:
        """What tells the client of a call's progress, if it gave the call a token."""
        meta = request.params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None
        if not isinstance(token, str | int):
            return None

        def tell(done: int, message: str) -> None:
            self._send(
                Notification("notifications/progress", {"progressToken": token, "progress": done, "message": message})
            )

        return tell

    def _wire(self, result: ToolResult) -> dict[str, object]:
        import json

        text = json.dumps(result.data, ensure_ascii=False)
        wire: dict[str, object] = {"content": [{"type": "text", "text": text}, *result.parts]}
        if self._version >= _STRUCTURED_SINCE:
            wire["structuredContent"] = {**result.data, **(result.details or {})}
        if result.is_error:
            wire["isError"] = True
        return wire

    def _cancel(self, ident: object) -> None:
        if isinstance(ident, str | int):
            with self._state:
                cancelled = self._running.get(ident)
                if cancelled is not None:
                    self._unwanted.add(ident)
                    cancelled.set()

    def _result(self, request: Request, result: dict[str, object]) -> None:
        self._send(Response(request.id, result))

    def _error(self, request: Request, code: int, message: str) -> None:
        self._send(Response(request.id, error=ErrorObject(code, message)))

    def _send(self, message: Response | Notification) -> None:
        data = memoryview(jsonrpc.encode(message))
        with self._writing:
            while data:
                data = data[os.write(self._output, data) :]


def main() -> int:
    """The console script: serves until the input ends, then exits with 0.

    Exit codes: 2 for wrong arguments or an unusable workspace, 1 on a platform without directory handles.
    """
    if os.open not in os.supports_dir_fd or os.name == "nt":
        return _fail("this system has no directory handles, which confine file access. Use a container runtime.", 1)
    try:
        directory, policy = _arguments(sys.argv[1:])
        workspace = Workspace(directory, policy.files)
    except ValueError as error:
        return _fail(f"{error}. Usage: perstack-skill-base [--workspace DIR] [--policy JSON]", 2)
    except OSError as error:
        return _fail(f"the workspace {directory!r} cannot be opened: {error.strerror}. Give an existing directory.", 2)
    source, output = _own_standard_streams()
    server = Server(workspace, output, policy.bounds)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        server.serve(source)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    finally:
        server.close()
    return 0


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _arguments(words: list[str]) -> tuple[str, Policy]:
    """The workspace and the policy. argparse would cost a quarter of the start-up time."""
    directory, policy = ".", Policy(FilePolicy(), Bounds())
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option not in ("--workspace", "--policy"):
            raise ValueError(f"unknown argument {word!r}")
        value = value if equals else next(rest, "")
        if not value:
            raise ValueError(f"{option} needs a value")
        if option == "--workspace":
            directory = value
        else:
            try:
                policy = parse(value)
            except ValueError as error:
                raise ValueError(f"--policy: {error}") from None
    return directory, policy


def _own_standard_streams() -> tuple[int, int]:
    """Private copies of the protocol's streams; through the public ones nothing can read or write messages."""
    source, output = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return source, output


def _fail(message: str, code: int) -> int:
    _say(message)
    return code


def _say(message: str) -> None:
    sys.stderr.write(f"perstack-skill-base: {message}\n")
