"""The state of runs and jobs as the fold of their events.

The loop applies each event to its state right after it was recorded, and resuming applies the same events read back
from the journal. There is no second way to build a history, so a resumed run sees the very conversation that was live.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from perstack.checkpoints import Checkpoint, DelegatedBy, ErrorInfo, ExpertRef, RunStatus
from perstack.engine.compaction import compacted
from perstack.events import (
    CallInteractiveTool,
    CallTools,
    CompactConversation,
    CompleteRun,
    ContinueToNextStep,
    EndOfRun,
    Event,
    FinishToolExecution,
    Retry,
    RunEvent,
    SampleModel,
    StartGeneration,
    StartRun,
    StopRunByError,
)
from perstack.messages import (
    NO_USAGE,
    ExpertMessage,
    InstructionMessage,
    Message,
    ToolCall,
    ToolMessage,
    ToolResult,
    ToolResultPart,
    Usage,
    spoken_text,
)
from perstack.tools.provenance import marked_parts


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """Where one run stands.

    Attributes:
        step_number: The newest step's number, counted over the whole job; 0 before the first.
        calls: The current step's calls, in the order in which the model made them.
        results: Those that are answered, by call id.
        asked: Whether the person was asked one of `calls`, which is done when nothing else but the completion is open.
        queued: What was said while calls were open; it enters the history after their results.
        last_usage: Tokens of the newest request, for the context window.
        checkpoint_id: The newest checkpoint, or empty before the first.
        answer: The final text of a completed run.
        error: Why a failed run failed.
    """

    run_id: str
    expert: ExpertRef
    status: RunStatus = "init"
    delegated_by: DelegatedBy | None = None
    messages: tuple[Message, ...] = ()
    step_number: int = 0
    calls: tuple[ToolCall, ...] = ()
    results: Mapping[str, ToolResult] = field(default_factory=dict)
    asked: bool = False
    queued: tuple[Message, ...] = ()
    usage: Usage = NO_USAGE
    last_usage: Usage = NO_USAGE
    answer: str = ""
    error: ErrorInfo | None = None
    checkpoint_id: str = ""

    @property
    def open_calls(self) -> tuple[ToolCall, ...]:
        """The calls that still need a result, in call order."""
        return tuple(call for call in self.calls if call.id not in self.results)

    @property
    def ordered_results(self) -> tuple[ToolResult, ...]:
        """The results that are in, in call order."""
        return tuple(self.results[call.id] for call in self.calls if call.id in self.results)

    @property
    def last_text(self) -> str:
        """The newest text that the Expert wrote, or empty."""
        for message in reversed(self.messages):
            if isinstance(message, ExpertMessage) and (text := spoken_text(message.contents).strip()):
                return text
        return ""


def tool_message(state: RunState, *, checkpoint_id: str) -> ToolMessage:
    """The results of the step's calls as one message, whose id follows from the checkpoint that takes it in."""
    contents = tuple(
        ToolResultPart(
            tool_call_id=result.id,
            tool_name=result.tool_name,
            contents=marked_parts(result.result, result.skill_name) if result.untrusted else result.result,
            is_error=result.is_error,
        )
        for result in state.ordered_results
    )
    return ToolMessage(id=f"{checkpoint_id}-results", contents=contents)


def advance(state: RunState, event: Event) -> RunState:
    """The state of a run after one of its events. Events that only inform leave it as it is."""
    match event:
        case StartRun():
            return _started(state, event.input_messages)
        case StartGeneration():
            return replace(state, step_number=event.step_number)
        case Retry() | SampleModel():
            return replace(state, usage=state.usage + event.usage)
        case CompactConversation():
            messages = compacted(state.messages, event.summary, kept=event.kept)
            return replace(state, messages=messages, usage=state.usage + event.usage, last_usage=NO_USAGE)
        case CallTools():
            return replace(
                state,
                messages=(*state.messages, event.new_message),
                calls=event.tool_calls,
                results={},
                asked=False,
                usage=state.usage + event.usage,
                last_usage=event.usage,
            )
        case CallInteractiveTool():
            return replace(state, asked=True)
        case FinishToolExecution():
            return replace(state, results={**state.results, event.tool_result.id: event.tool_result})
        case ContinueToNextStep():
            state = _with_results(state, event.checkpoint)
            said = (*state.messages, *event.new_messages)
            return replace(state, messages=said, checkpoint_id=event.checkpoint.id)
        case EndOfRun():
            return _ended(state, event)
        case _:
            return state


def _started(state: RunState, said: tuple[Message, ...]) -> RunState:
    instruction = tuple(message for message in said if isinstance(message, InstructionMessage))
    rest = tuple(message for message in said if not isinstance(message, InstructionMessage))
    history = state.messages
    if instruction:
        history = (*instruction, *(message for message in history if not isinstance(message, InstructionMessage)))
    if state.calls:
        return replace(state, status="proceeding", messages=history, queued=(*state.queued, *rest))
    return replace(state, status="proceeding", messages=(*history, *rest))


def _ended(state: RunState, event: EndOfRun) -> RunState:
    state = replace(
        state, status=event.checkpoint.status, usage=state.usage + event.usage, checkpoint_id=event.checkpoint.id
    )
    if not state.open_calls:
        state = _with_results(state, event.checkpoint)
    return replace(
        state,
        messages=(*state.messages, *event.new_messages),
        answer=event.text if isinstance(event, CompleteRun) else "",
        error=event.error if isinstance(event, StopRunByError) else None,
    )


def _with_results(state: RunState, checkpoint: Checkpoint) -> RunState:
    if not state.calls:
        return state
    answers = tool_message(state, checkpoint_id=checkpoint.id)
    return replace(state, messages=(*state.messages, answers, *state.queued), calls=(), results={}, queued=())


class JobState:
    """Where a job stands: every run's state, and the totals that budgets are held against.

    Attributes:
        runs: The newest state of each run.
        root: The newest run of the coordinator, or None before the first.
        children: The newest run that answers a delegated call, by the call's id.
        steps: Generations so far, in all runs.
        usage: Tokens so far, in all runs.
        keep: Checkpoints whose states are kept in `checkpoints`, because something continues from them.
    """

    def __init__(self, *, keep: Iterable[str] = ()) -> None:
        self.runs: dict[str, RunState] = {}
        self.checkpoints: dict[str, RunState] = {}
        self.children: dict[str, str] = {}
        self.root: str | None = None
        self.steps = 0
        self.usage = NO_USAGE
        self._keep = frozenset(keep)

    def apply(self, event: Event) -> None:
        """Take in the next event of the job."""
        if not isinstance(event, RunEvent):
            return
        if isinstance(event, StartRun):
            self._start(event)
        after = self.runs[event.run_id] = advance(self.runs[event.run_id], event)
        match event:
            case StartGeneration():
                self.steps = max(self.steps, event.step_number)
            case CallTools() | CompactConversation() | SampleModel() | Retry() | EndOfRun():
                self.usage += event.usage
        if isinstance(event, (ContinueToNextStep, EndOfRun)) and event.checkpoint.id in self._keep:
            self.checkpoints[event.checkpoint.id] = after

    def _start(self, event: StartRun) -> None:
        checkpoint = event.initial_checkpoint
        if event.run_id not in self.runs:
            earlier = self.find(event.continues) if event.continues else None
            fresh = RunState(run_id=event.run_id, expert=checkpoint.expert, delegated_by=checkpoint.delegated_by)
            self.runs[event.run_id] = replace(earlier, run_id=event.run_id) if earlier else fresh
        if checkpoint.delegated_by is None:
            self.root = event.run_id
        else:
            self.children[checkpoint.delegated_by.tool_call_id] = event.run_id

    def find(self, name: str) -> RunState | None:
        """The state at a kept checkpoint, or the newest state of a run, by id."""
        return self.checkpoints.get(name) or self.runs.get(name)

    @property
    def root_run(self) -> RunState:
        """The coordinator's newest state.

        Raises:
            KeyError: No run has started yet.
        """
        return self.runs[self.root or ""]

    def forget_children(self) -> None:
        """No delegated call is answered by a run of the past."""
        self.children.clear()

    def child_of(self, call: ToolCall) -> RunState | None:
        """The run that answers a delegated call, or None when it has not started."""
        run_id = self.children.get(call.id)
        return self.runs[run_id] if run_id is not None else None
