"""exec, readExecOutput: a program started without a shell, bounded in time and output, with nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from perstack_proxy.envnames import SAFE_NAMES, SHELL_INIT_NAMES, is_protected, is_valid_name

from perstack_skill_base.calls import Call, ToolResult
from perstack_skill_base.errors import ToolError, invalid

if TYPE_CHECKING:
    from perstack_skill_base.domain import Outcome

NO_OUTPUT = "The command succeeded and printed nothing."


def execute(call: Call) -> ToolResult:
    """What the program printed and how it ended. A failure of the program is an error result that has both."""
    from perstack_skill_base.domain import Command, run  # most runs of the server start no command

    arguments, bounds = call.arguments, call.bounds
    longest = bounds.exec_max_timeout_ms
    timeout_ms = arguments.integer("timeout", min(bounds.exec_timeout_ms, longest))
    if timeout_ms > longest:
        raise invalid(f"timeout is at most {longest} ms here. Split the work.")
    command = arguments.text("command")
    argv = [command, *arguments.texts("args")]
    if any("\0" in argument for argument in argv):
        raise invalid("An argument has a NUL character, which no program can receive.")
    environment, dropped = environment_for(arguments.mapping("env"))
    place = call.workspace.locate(arguments.text("cwd"))
    with call.workspace.directory(place) as directory:
        argv[0] = find_program(command, environment, directory)
        started = time.monotonic()
        todo = Command(
            argv=argv,
            environment=environment,
            directory=directory,
            timeout_ms=timeout_ms,
            stream_bytes=bounds.exec_stream_bytes,
            spill_bytes=bounds.exec_spill_bytes,
            cancelled=call.cancelled,
            progress=call.progress,
        )
        try:
            outcome = run(todo)
        except OSError as error:
            raise _not_started(command, error.errno or 0) from None
    duration_ms = round((time.monotonic() - started) * 1000)
    return _result(call, command, outcome, duration_ms, timeout_ms, dropped)


def read_exec_output(call: Call) -> ToolResult:
    """A page of what a command printed, from the part that its result left out too."""
    from perstack_skill_base.tools.read import page

    ident, stream = call.arguments.integer("outputId"), call.arguments.text("stream", "stdout")
    offset = call.arguments.integer("offset")
    content, size = call.outputs.read(ident, stream, offset, call.bounds.read_bytes)
    start = max(0, size + offset) if offset < 0 else offset
    return ToolResult({"outputId": ident, "stream": stream, **page(content, start, size)})


def environment_for(requested: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """The command's environment, and the requested names that were dropped because they are protected.

    Only safe names are inherited: what this skill was given beyond them is not for every command.

    Raises:
        ToolError: A name or value is impossible.
    """
    for name, value in requested.items():
        if not is_valid_name(name) or "\0" in value:
            raise invalid(f"env has {name!r}, which is no valid name or has an impossible value.")
    inherited = {name: os.environ[name] for name in SAFE_NAMES if os.environ.get(name) and name not in SHELL_INIT_NAMES}
    allowed = {name: value for name, value in requested.items() if not is_protected(name)}
    return {**inherited, **allowed}, sorted(requested.keys() - allowed.keys())


def find_program(command: str, environment: dict[str, str], directory: int) -> str:
    """The program to start: a path as it is, a name from the absolute directories of PATH only.

    Raises:
        ToolError: There is no such program.
    """
    if "/" in command:
        return command
    for folder in environment.get("PATH", os.defpath).split(os.pathsep):
        candidate = os.path.join(folder, command)
        if os.path.isabs(folder) and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    hint = ""
    with contextlib.suppress(OSError):
        os.stat(command, dir_fd=directory, follow_symlinks=False)
        hint = f" To start the file of this name in the working directory, write './{command}'."
    raise ToolError("NotFound", f"The program {command!r} was not found. No shell is used: give only its name.{hint}")


def _result(
    call: Call, command: str, outcome: Outcome, duration_ms: int, timeout_ms: int, dropped: list[str]
) -> ToolResult:
    streams = {"stdout": outcome.stdout, "stderr": outcome.stderr}
    stdout, stderr = outcome.stdout.text(), outcome.stderr.text()
    failure = _failure(command, outcome, timeout_ms)
    shown = stdout if call.arguments.flag("stdout", default=True) else ""
    shown += stderr if call.arguments.flag("stderr", default=True) else ""
    if not shown.strip() and failure is None:
        shown = NO_OUTPUT
    data: dict[str, object] = {} if failure is None else {"error": failure[0], "message": failure[1]}
    ended_by = -outcome.code if outcome.code < 0 else None
    data |= {
        "output": shown,
        "exitCode": None if ended_by is not None or outcome.cause == "lost" else outcome.code,
        "signal": None if ended_by is None else _signal_name(ended_by),
        "timedOut": outcome.cause == "timeout",
        "durationMs": duration_ms,
        "truncated": outcome.stdout.truncated or outcome.stderr.truncated,
    }
    if dropped:
        data["droppedEnv"] = dropped
        data["hint"] = "droppedEnv names variables that are protected and were not set."
    if outcome.survivors:
        data["survivors"] = outcome.survivors
    spilled = {name: stream.spill for name, stream in streams.items() if stream.spill is not None}
    if spilled:
        data["outputId"] = call.outputs.keep(spilled)
        data["bytes"] = {name: stream.total for name, stream in streams.items()}
    return ToolResult(data, details={"stdout": stdout, "stderr": stderr}, is_error=failure is not None)


def _failure(command: str, outcome: Outcome, timeout_ms: int) -> tuple[str, str] | None:
    if outcome.cause == "failed":
        raise _not_started(command, outcome.code)
    if outcome.cause == "lost":
        return "Lost", f"{command!r} ended the process that supervised it; everything it started was ended."
    if outcome.cause == "timeout":
        return (
            "TimedOut",
            f"Command timed out after {timeout_ms}ms and was ended. Set a longer timeout if it needs one.",
        )
    if outcome.cause == "cancelled":
        return "Cancelled", "The command was cancelled and ended."
    if outcome.code < 0:
        return "CommandFailed", f"{command!r} was ended by {_signal_name(-outcome.code)}."
    return ("CommandFailed", f"{command!r} failed with exit code {outcome.code}.") if outcome.code else None


def _not_started(command: str, number: int) -> ToolError:
    return ToolError("NotStarted", f"{command!r} could not be started: {os.strerror(number)}.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
