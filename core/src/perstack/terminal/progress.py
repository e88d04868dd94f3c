"""A run as a person watches it: one line for each thing that happened, and on a terminal one that says what goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from perstack.events import (
    CallDelegate,
    CallInteractiveTool,
    CallTools,
    ChangeModel,
    CompactConversation,
    CompleteRun,
    DockerBuildProgress,
    DockerContainerStatus,
    EndOfRun,
    Event,
    FinishToolExecution,
    InitializeRuntime,
    PluginEvent,
    ProveBoundary,
    ProxyAccess,
    Retry,
    ReviewToolCall,
    RunEvent,
    SampleModel,
    SkillConnected,
    SkillDisconnected,
    SkillNotice,
    SkillStarting,
    SkillStderr,
    SkillViolation,
    StartGeneration,
    StartRun,
    StopRunByDelegate,
    StreamReasoning,
    StreamRunResult,
)
from perstack.messages import NO_USAGE
from perstack.terminal.describe import counted, describe, duration
from perstack.terminal.output import Output, Tone

REDRAW_SECONDS = 0.1
"""Faster than this nobody reads, and a fast model would spend its time on drawing."""

_SHOWN = (
    InitializeRuntime,
    ProveBoundary,
    SkillConnected,
    SkillStderr,
    SkillViolation,
    StartRun,
    Retry,
    ChangeModel,
    CallTools,
    FinishToolExecution,
    ReviewToolCall,
    CallDelegate,
    CallInteractiveTool,
    EndOfRun,
    DockerBuildProgress,
    PluginEvent,
)
_MORE = (ProxyAccess, DockerContainerStatus, SkillStarting, SkillNotice, SkillDisconnected)


class Screen:
    """Shows events, which must be redacted already, as they happen.

    Args:
        verbose: Shows what skills and runtimes do in between too: every connection, container and notice.
    """

    def __init__(self, output: Output, *, verbose: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._verbose = verbose
        self._clock = clock
        self._started = clock()
        self._drawn_at = float("-inf")
        self._status_shown = False
        self._activity = "starting"
        self._step = 0
        self._usage = NO_USAGE
        self._depths: dict[str, int] = {}

    def event(self, event: Event) -> None:
        """Show what `event` means to a person; many mean nothing."""
        self._count(event)
        if _is_shown(event) or (self._verbose and isinstance(event, _MORE)):
            self._clear()
            for line in self._wanted(event):
                self._output.line(f"{self._prefix(event)}{line[0]}", line[1])
            self._drawn_at = float("-inf")
        self.tick()

    def tick(self) -> None:
        """Draw the time that has passed; call it now and then while nothing happens."""
        now = self._clock()
        if not self._output.live or now - self._drawn_at < REDRAW_SECONDS:
            return
        self._drawn_at = now
        spent = f"{counted(self._usage.total_tokens, 'token')} · {duration(round(now - self._started) * 1000)}"
        text = f"step {self._step} · {spent} · {self._activity}"[: self._output.width - 1]
        self._output.write(f"\r\x1b[2K{self._output.style(text, 'dim')}")
        self._status_shown = True

    def pause(self) -> None:
        """Leave the terminal clean for someone else's line; the next event goes on."""
        self._clear()

    def close(self) -> None:
        """Nothing of the live view is left behind what happened."""
        self._clear()

    def _clear(self) -> None:
        if self._status_shown:
            self._output.write("\r\x1b[2K")
            self._status_shown = False

    def _wanted(self, event: Event) -> list[tuple[str, Tone]]:
        lines = [(line.text, line.tone) for line in describe(event)]
        if isinstance(event, CompleteRun) and not self._depths.get(event.run_id):
            return lines[:1]  # the answer itself goes to standard output
        return lines

    def _prefix(self, event: Event) -> str:
        indent = "  " * self._depths.get(event.run_id, 0)
        step = f"[{event.step_number}] " if isinstance(event, RunEvent) and event.step_number else ""
        return f"{indent}{step}"

    def _count(self, event: Event) -> None:
        match event:
            case StartRun():
                caller = event.initial_checkpoint.delegated_by
                self._depths[event.run_id] = self._depths.get(caller.run_id, 0) + 1 if caller else 0
            case StartGeneration():
                self._step = event.step_number
                self._activity = "waiting for the model"
            case StreamReasoning():
                self._activity = "the model reasons"
            case StreamRunResult():
                self._activity = "the model writes"
            case CallTools():
                self._activity = counted(len(event.tool_calls), "tool call")
            case SkillStarting():
                self._activity = "starting skills"
            case Retry():
                self._activity = "waiting to try again"
        if isinstance(event, CallTools | CompactConversation | SampleModel | Retry | EndOfRun):
            self._usage += event.usage


def _is_shown(event: Event) -> bool:
    if isinstance(event, SkillDisconnected):
        return bool(event.reason)
    if isinstance(event, ProxyAccess):
        return event.action == "blocked"
    if isinstance(event, DockerContainerStatus):
        return event.status in ("unhealthy", "error")
    return isinstance(event, _SHOWN) and not isinstance(event, StopRunByDelegate)
