"""The events that begin, mark and end a run, made from where the run stands."""

from __future__ import annotations

import time
from typing import TypedDict

from perstack.checkpoints import Checkpoint, DelegatedBy, DelegateTo, ErrorInfo, RunStatus, Step
from perstack.engine.context import JobContext
from perstack.engine.delegation import delegate_key
from perstack.engine.generation import Generation
from perstack.engine.recorder import RunStamp, now_ms
from perstack.engine.state import RunState
from perstack.errors import PerstackError, ProviderError
from perstack.events import (
    FinishToolExecution,
    StartGeneration,
    StartRun,
    StopRunByBudget,
    StopRunByCancellation,
    StopRunByError,
)
from perstack.ids import new_id
from perstack.messages import NO_USAGE, Message, ToolCall, ToolResult, Usage


class Ending(TypedDict):
    """The fields that every end of a run has."""

    checkpoint: Checkpoint
    step: Step
    usage: Usage
    new_messages: tuple[Message, ...]


class RunLog:
    """Records what is the same in every run, whatever its loop does."""

    def __init__(self, context: JobContext, run_id: str) -> None:
        self._context = context
        self._recorder = context.recorder
        self._run_id = run_id
        self._step_started = now_ms()

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        return self._recorder.state.runs[self._run_id]

    def stamp(self) -> RunStamp:
        """The base fields of the run's next event."""
        return self._stamped(self.state.expert.key, self.state.step_number)

    def begin(
        self,
        expert_key: str,
        said: tuple[Message, ...],
        *,
        delegated_by: DelegatedBy | None,
        earlier: RunState | None,
        source: str | None,
    ) -> None:
        """The run exists. It goes on from `earlier`, which `source` names, or from nothing."""
        step_number = earlier.step_number if earlier else 0
        checkpoint = Checkpoint(
            id=new_id(),
            job_id=self._recorder.job_id,
            run_id=self._run_id,
            status="init",
            step_number=step_number,
            expert=self._context.ref(expert_key),
            usage=earlier.usage if earlier else NO_USAGE,
            message_count=len(earlier.messages) if earlier else 0,
            delegated_by=delegated_by,
        )
        stamp = self._stamped(expert_key, step_number)
        self._recorder.record(StartRun(**stamp, initial_checkpoint=checkpoint, input_messages=said, continues=source))

    def resume(self) -> None:
        """The run goes on after its delegates."""
        checkpoint = self._checkpoint("proceeding", usage=self.state.usage, more_messages=0)
        self._recorder.record(
            StartRun(**self.stamp(), initial_checkpoint=checkpoint, input_messages=(), continues=self._run_id)
        )

    def start_step(self) -> None:
        """The job's next step is this run's."""
        self._step_started = now_ms()
        stamp = self._stamped(self.state.expert.key, self._recorder.state.steps + 1)
        self._recorder.record(StartGeneration(**stamp, message_count=len(self.state.messages)))

    def finish(self, result: ToolResult, *, duration_ms: int = 0) -> None:
        """A call has its result."""
        self._recorder.record(FinishToolExecution(**self.stamp(), tool_result=result, duration_ms=duration_ms))

    def fail(self, error: Exception) -> None:
        """The run ends here because of `error`."""
        hint = error.hint if isinstance(error, PerstackError) else ""
        info = ErrorInfo(
            name=type(error).__name__,
            message=f"{error} {hint}".strip(),
            is_retryable=isinstance(error, ProviderError) and error.retryable,
            status_code=error.status if isinstance(error, ProviderError) else None,
        )
        self._recorder.record(StopRunByError(**self.stamp(), **self.ending("stoppedByError", error=info), error=info))

    def cancel(self) -> None:
        """The run ends here because time is up, or because somebody ended it."""
        if time.monotonic() >= self._context.budget.deadline:
            self._recorder.record(StopRunByBudget(**self.stamp(), **self.ending("stoppedByBudget"), budget="time"))
        else:
            self._recorder.record(StopRunByCancellation(**self.stamp(), **self.ending("cancelled"), reason="cancelled"))

    def ending(
        self,
        status: RunStatus,
        generation: Generation | None = None,
        *,
        error: ErrorInfo | None = None,
        delegated: tuple[ToolCall, ...] = (),
        said: tuple[Message, ...] = (),
    ) -> Ending:
        """A checkpoint here; `generation` is the last answer where no event told of it yet, `said` what follows."""
        state = self.state
        usage = generation.usage if generation else NO_USAGE
        new_messages = (generation.message(), *said) if generation else said
        answers = 1 if state.calls and not state.open_calls else 0
        return {
            "checkpoint": self._checkpoint(
                status,
                usage=state.usage + usage,
                more_messages=answers + len(new_messages),
                error=error,
                delegated=delegated,
            ),
            "step": Step(
                step_number=state.step_number,
                usage=generation.usage if generation else state.last_usage,
                tool_call_count=len(state.calls),
                started_at=self._step_started,
                finished_at=now_ms(),
            ),
            "usage": usage,
            "new_messages": new_messages,
        }

    def _checkpoint(
        self,
        status: RunStatus,
        *,
        usage: Usage,
        more_messages: int,
        error: ErrorInfo | None = None,
        delegated: tuple[ToolCall, ...] = (),
    ) -> Checkpoint:
        state, window = self.state, self._context.models.window
        held = state.last_usage.input_tokens + state.last_usage.output_tokens
        return Checkpoint(
            id=new_id(),
            job_id=self._recorder.job_id,
            run_id=self._run_id,
            status=status,
            step_number=state.step_number,
            expert=state.expert,
            usage=usage,
            message_count=len(state.messages) + more_messages,
            delegate_to=tuple(self._delegate_to(call) for call in delegated),
            delegated_by=state.delegated_by,
            pending_tool_calls=state.open_calls,
            context_window=window,
            context_window_usage=held / window if window else None,
            error=error,
        )

    def _delegate_to(self, call: ToolCall) -> DelegateTo:
        query = call.args.get("query")
        return DelegateTo(
            expert=self._context.ref(delegate_key(call)),
            tool_call_id=call.id,
            tool_name=call.tool_name,
            query=query if isinstance(query, str) else "",
        )

    def _stamped(self, expert_key: str, step_number: int) -> RunStamp:
        return {**self._recorder.stamp(self._run_id), "expert_key": expert_key, "step_number": step_number}
