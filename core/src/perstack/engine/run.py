"""One run: the loop of an Expert from its first question to its end.

Every way out of the loop is an `EndOfRun` event with a checkpoint: completed, stopped, failed or cancelled. A failing
tool, a broken server, a denied or hallucinated call is a result that the model sees, and never a way out.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio

from perstack.engine import calls as call_rules
from perstack.engine.asking import ask
from perstack.engine.compaction import HEAD, is_full, kept_tail, summary_message, summary_request
from perstack.engine.context import JobContext, Tools
from perstack.engine.delegation import MAX_PARALLEL, error_result
from perstack.engine.generation import Generation
from perstack.engine.results import MISFIT, MOST_REJECTED, fitting, misfitting
from perstack.engine.run_log import RunLog
from perstack.engine.state import RunState, tool_message
from perstack.errors import JournalError, PerstackError, ProviderError, UserError
from perstack.events import (
    AttemptCompletion,
    CallDelegate,
    CallInteractiveTool,
    CallTools,
    CompactConversation,
    CompleteRun,
    ContinueToNextStep,
    FinishToolCall,
    ResolveToolResults,
    ResumeToolCalls,
    StopRunByBudget,
    StopRunByDelegate,
    StopRunByError,
    StopRunByExceededMaxSteps,
    StopRunByInteractiveTool,
)
from perstack.ids import new_id
from perstack.messages import NO_USAGE, JsonObject, TextPart, ToolCall, ToolResult, UserMessage, text_result

Delegate = Callable[[ToolCall], Awaitable[ToolResult]]
"""Runs the delegate that a call asks for, to its end; never raises but for cancellation and a broken journal."""


class Run:
    """One run of one Expert, whose state is the fold of the events that it records."""

    def __init__(self, context: JobContext, tools: Tools, *, run_id: str, delegate: Delegate) -> None:
        self._context = context
        self._tools = tools
        self._delegate = delegate
        self._log = RunLog(context, run_id)
        self._record = context.recorder.record
        self._stamp = self._log.stamp
        self._ending = self._log.ending
        self._rejected = 0

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        return self._log.state

    @property
    def _schema(self) -> JsonObject | None:
        """What the Expert's result has to be."""
        return self._context.experts[self.state.expert.key].expert.result_schema

    async def go(self) -> RunState:
        """The state at the run's end. The run was started before, and may have open calls of an earlier process.

        Raises:
            JournalError: Nothing more can be recorded, so nothing more is done.
            UserError: A setting does not fit, such as the model provider's address; the run's end is recorded.
        """
        try:
            await self._loop()
        except JournalError:
            raise
        except UserError as error:
            self._log.fail(error)
            raise  # no continuation helps before the person has changed something
        except PerstackError as error:
            self._log.fail(error)
        except anyio.get_cancelled_exc_class():
            self._log.cancel()
            raise
        except Exception as error:
            self._log.fail(error)  # a defect, of ours or of a plugin: the job has its end all the same
            raise
        return self.state

    async def _loop(self) -> None:
        if self.state.calls:
            self._report_interrupted()
            if not await self._resolve():
                return
        while not self._out_of_budget():
            generation = await self._generate()
            if generation.calls or generation.finish == "pause":
                self._call(generation)
                if not await self._resolve():
                    return
            elif misfit := self._answer(generation):
                self._reject(generation, misfit)
            else:
                return

    async def _generate(self) -> Generation:
        await self._make_room()
        self._log.start_step()
        return await ask(
            self._context, self.state.messages, self._tools.definitions, stamp=self._stamp, result_schema=self._schema
        )

    async def _make_room(self) -> None:
        """Older messages give way to a summary when the window is nearly full.

        A model that cannot write one costs the run its memory, and not its life.
        """
        state, window = self.state, self._context.models.window
        if window is None or not is_full(state.messages, state.last_usage, window=window):
            return
        kept = kept_tail(state.messages, window=window)
        question = summary_request(state.messages, kept=kept, window=window)
        text, usage = "", NO_USAGE
        with suppress(ProviderError):
            summary = await ask(self._context, question, (), stamp=self._stamp, shown=False)
            text, usage = summary.text, summary.usage
        self._record(
            CompactConversation(
                **self._stamp(),
                summary=summary_message(text),
                kept=kept,
                dropped=len(state.messages) - kept - HEAD,
                usage=usage,
            )
        )

    def _answer(self, generation: Generation) -> str:
        """Words alone are the run's result, and its end, unless they were cut, are a refusal, or do not fit the schema.

        Returns:
            Why the model is asked once more; empty where the run ended.
        """
        failure = call_rules.unfinished(generation)
        text, misfit = self._fitting(generation.text)
        if failure is None and misfit:
            if self._rejected < MOST_REJECTED:
                return misfit
            failure = misfitting(misfit)
        if failure is None:
            ending = self._ending("completed", generation)
            self._record(CompleteRun(**self._stamp(), **ending, text=text))
        else:
            ending = self._ending("stoppedByError", generation, error=failure)
            self._record(StopRunByError(**self._stamp(), **ending, error=failure))
        return ""

    def _reject(self, generation: Generation, misfit: str) -> None:
        """The model learns why its answer is no result."""
        self._rejected += 1
        self._call(generation)
        said = (UserMessage(id=new_id(), contents=(TextPart(text=MISFIT.format(problems=misfit)),)),)
        ending = self._ending("proceeding", said=said)
        checkpoint, step = ending["checkpoint"], ending["step"]
        self._record(ContinueToNextStep(**self._stamp(), checkpoint=checkpoint, step=step, new_messages=said))

    def _fitting(self, text: str) -> tuple[str, str]:
        """The result as the Expert's schema wants it, and why it does not fit; any text fits where there is none."""
        schema = self._schema
        return fitting(text, schema) if schema is not None else (text, "")

    # --- tool calls ---

    def _call(self, generation: Generation) -> None:
        """The model's calls are on disk, and those that cannot be dispatched are answered."""
        called = self._record(
            CallTools(
                **self._stamp(),
                new_message=generation.message(),
                tool_calls=call_rules.tool_calls(generation, self._tools),
                usage=generation.usage,
            )
        )
        refused = call_rules.refusals(generation)
        for call in called.tool_calls:
            if call.id in refused:
                self._log.finish(error_result(call, refused[call.id]))

    def _report_interrupted(self) -> None:
        for call in call_rules.sort_calls(self.state.open_calls, self._tools).skills:
            self._log.finish(error_result(call, call_rules.INTERRUPTED))

    async def _resolve(self) -> bool:
        """Every call of the step has a result and the run goes on; False when it has ended."""
        todo = call_rules.sort_calls(self.state.open_calls, self._tools)
        await self._dispatch(todo.skills)
        if delegates := await self._admitted(todo.delegates):
            await self._delegate_all(delegates)
        if not await self._ask_person(await self._admitted(todo.interactive)):
            return False
        for call in todo.completion:
            text, misfit = self._fitting(call_rules.completion_text(call, last_text=self.state.last_text))
            if misfit:
                if not self._refuse_completion(call, misfit):
                    return False
                continue
            result = await self._tools.call(call)
            self._log.finish(result)
            if call_rules.completes(result) and not self.state.open_calls:
                self._record(AttemptCompletion(**self._stamp(), tool_result=result))
                self._record(CompleteRun(**self._stamp(), **self._ending("completed"), text=text))
                return False
        if self.state.calls:
            self._record(ResolveToolResults(**self._stamp(), tool_results=self.state.ordered_results))
        if self._out_of_budget():
            return False
        ending = self._ending("proceeding")
        if self.state.calls:  # a pause has none
            answers = tool_message(self.state, checkpoint_id=ending["checkpoint"].id)
            self._record(FinishToolCall(**self._stamp(), new_messages=(answers,)))
        self._record(ContinueToNextStep(**self._stamp(), checkpoint=ending["checkpoint"], step=ending["step"]))
        return True

    def _refuse_completion(self, call: ToolCall, misfit: str) -> bool:
        """The call learns why its result does not fit; False when that was once too often, and the run ended."""
        self._log.finish(error_result(call, MISFIT.format(problems=misfit)))
        self._rejected += 1
        if self._rejected <= MOST_REJECTED:
            return True
        failure = misfitting(misfit)
        ending = self._ending("stoppedByError", error=failure)
        self._record(StopRunByError(**self._stamp(), **ending, error=failure))
        return False

    async def _admitted(self, calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
        """Those calls that may go ahead; the others are answered."""
        admitted = []
        for call in calls:
            refusal = await self._tools.admit(call)
            if refusal is None:
                admitted.append(call)
            else:
                self._log.finish(refusal)
        return tuple(admitted)

    async def _dispatch(self, calls: tuple[ToolCall, ...]) -> None:
        async def one(call: ToolCall) -> None:
            started = time.monotonic()
            result = await self._tools.call(call)
            self._log.finish(result, duration_ms=round((time.monotonic() - started) * 1000))

        if len(calls) == 1:
            await one(calls[0])
            return
        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(one, call)

    async def _delegate_all(self, calls: tuple[ToolCall, ...]) -> None:
        self._record(CallDelegate(**self._stamp(), tool_calls=calls, usage=NO_USAGE))
        self._record(StopRunByDelegate(**self._stamp(), **self._ending("stoppedByDelegate", delegated=calls)))
        results: dict[str, ToolResult] = {}
        places = anyio.CapacityLimiter(MAX_PARALLEL)

        async def one(call: ToolCall) -> None:
            async with places:
                results[call.id] = await self._delegate(call)

        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(one, call)
        self._log.resume()
        for call in calls:
            self._log.finish(results[call.id])
        if pending := self.state.open_calls:
            partial = self.state.ordered_results
            self._record(ResumeToolCalls(**self._stamp(), pending_tool_calls=pending, partial_tool_results=partial))

    async def _ask_person(self, calls: tuple[ToolCall, ...]) -> bool:
        """Every question is answered; False when nobody is there, and the run stopped with them in its checkpoint."""
        for call in calls:
            self._record(CallInteractiveTool(**self._stamp(), tool_call=call, usage=NO_USAGE))
            answer = await self._context.ask_person(call)
            if answer is None:
                self._record(StopRunByInteractiveTool(**self._stamp(), **self._ending("stoppedByInteractiveTool")))
                return False
            self._log.finish(text_result(call, answer))
        return True

    def _out_of_budget(self) -> bool:
        """Whether the run ended here because the job may not take another step."""
        budget = self._context.budget.exceeded(self._context.recorder.state, now=time.monotonic())
        if budget is None:
            return False
        if budget == "steps":
            self._record(StopRunByExceededMaxSteps(**self._stamp(), **self._ending("stoppedByExceededMaxSteps")))
        else:
            self._record(StopRunByBudget(**self._stamp(), **self._ending("stoppedByBudget"), budget=budget))
        return True
