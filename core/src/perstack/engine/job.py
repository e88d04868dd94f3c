"""One job: the coordinator's run, its delegates' runs, and how they hang together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import anyio

from perstack.checkpoints import DelegatedBy
from perstack.engine.context import JobContext, Tools
from perstack.engine.delegation import delegate_key, delegate_result, error_result, refusal
from perstack.engine.prompt import DelegateView, system_prompt
from perstack.engine.run import Run
from perstack.engine.run_log import RunLog
from perstack.engine.state import RunState
from perstack.errors import JournalError, LockMismatch, PerstackError
from perstack.ids import new_id
from perstack.messages import (
    InstructionMessage,
    TextPart,
    ToolCall,
    ToolResult,
    UserMessage,
)

UNFINISHED = ("init", "proceeding", "stoppedByDelegate", "cancelled")
"""States in which a delegate's run goes on when its job does; every other one is an end that its parent is told."""


class Job:
    """Runs Experts: the coordinator on request, delegates when a run asks for them."""

    def __init__(self, context: JobContext) -> None:
        self._context = context

    async def run(
        self,
        expert_key: str,
        *,
        query: str | None,
        earlier: RunState | None = None,
        checkpoint_id: str | None = None,
        answer: ToolResult | None = None,
    ) -> RunState:
        """The coordinator's state at its end.

        Args:
            expert_key: The coordinator.
            query: What the person says, or None when only an answer is given.
            earlier: The state that the job goes on from.
            checkpoint_id: The checkpoint of that state; None when the run was killed between two.
            answer: The person's answer to a pending interactive call.

        Raises:
            PerstackError: A skill did not start, or the policy forbids it; the run's end is recorded first.
        """
        source = (checkpoint_id or earlier.run_id) if earlier else None
        return await self._run(
            expert_key, query=query, earlier=earlier, source=source, answer=answer, delegated_by=None, ancestors=()
        )

    async def _run(
        self,
        expert_key: str,
        *,
        query: str | None,
        earlier: RunState | None,
        source: str | None,
        delegated_by: DelegatedBy | None,
        ancestors: Sequence[str],
        answer: ToolResult | None = None,
    ) -> RunState:
        context = self._context
        run_id = new_id()
        policy = context.experts[expert_key]
        log = RunLog(context, run_id)
        begin = partial(log.begin, expert_key, delegated_by=delegated_by, earlier=earlier, source=source)
        said = () if query is None else (UserMessage(id=new_id(), contents=(TextPart(text=query),)),)
        try:
            async with context.open_tools(policy, run_id, interactive=delegated_by is None) as tools:
                begin((self._instruction(expert_key, tools), *said))
                if answer is not None:
                    log.finish(answer)
                delegate = partial(self._delegate, run_id, (*ancestors, expert_key))
                return await Run(context, tools, run_id=run_id, delegate=delegate).go()
        except JournalError:
            raise
        except PerstackError as error:
            if run_id not in context.recorder.state.runs:
                begin(said)
                log.fail(error)
            raise
        except anyio.get_cancelled_exc_class():
            if run_id not in context.recorder.state.runs:
                begin(said)
                log.cancel()
            raise

    def _instruction(self, expert_key: str, tools: Tools) -> InstructionMessage:
        """The instruction, made anew for every start."""
        context = self._context
        prompt = system_prompt(
            context.experts[expert_key].expert,
            workspace=context.workspace,
            today=datetime.now().astimezone().date(),
            delegates=[
                DelegateView(tool_name=tool.name, description=tool.definition.description)
                for tool in tools
                if tool.kind == "delegate"
            ],
            interactive=any(tool.kind == "interactive" for tool in tools),
        )
        return InstructionMessage(id=new_id(), contents=(TextPart(text=prompt),))

    async def _delegate(self, parent_id: str, line: tuple[str, ...], call: ToolCall) -> ToolResult:
        """What came of a delegated call. A child of an earlier process goes on where it was."""
        state = self._context.recorder.state
        key = delegate_key(call)
        child = state.child_of(call)
        if child is not None and child.status not in UNFINISHED:
            return delegate_result(call, child)
        if (reason := refusal(call, key=key, ancestors=line)) is not None:
            return error_result(call, reason)
        parent = state.runs[parent_id]
        query = str(call.args["query"])
        try:
            ended = await self._run(
                key,
                query=query if child is None else None,
                earlier=child,
                source=child.run_id if child else None,
                delegated_by=DelegatedBy(
                    expert=parent.expert,
                    tool_call_id=call.id,
                    tool_name=call.tool_name,
                    checkpoint_id=parent.checkpoint_id,
                    run_id=parent_id,
                ),
                ancestors=line,
            )
        except (JournalError, LockMismatch):
            raise
        except PerstackError as error:
            return error_result(call, f"The delegate {key!r} could not start: {error}")
        return delegate_result(call, ended)
