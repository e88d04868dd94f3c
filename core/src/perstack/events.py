"""Everything that happens in a job, as typed values whose JSON keeps the original's event names and fields.

An event is a fact. The journal is a list of facts and the state of a run is the fold of its events, so nothing that
can be derived is stored: streamed deltas and restatements are shown, not journaled (see `JournalEvent`). Events carry
references to checkpoints and never the whole history, so journal and event stream grow linearly with the work.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from perstack.checkpoints import Checkpoint, ErrorInfo, Step
from perstack.messages import (
    NO_USAGE,
    ExpertMessage,
    JsonObject,
    Message,
    ToolCall,
    ToolResult,
    Usage,
    UserMessage,
    Wire,
)


class PluginRef(Wire, frozen=True, kw_only=True):
    """A plugin that was active in a run."""

    name: str
    version: str


class Event(Wire, frozen=True, kw_only=True, tag_field="type"):
    """What every event has. `timestamp` is in milliseconds since the epoch."""

    id: str
    timestamp: int
    job_id: str
    run_id: str


class RunEvent(Event, frozen=True, kw_only=True):
    """What every event of an Expert's run has."""

    expert_key: str
    step_number: int


# --- a run's course -------------------------------------------------------------------------------------------------


class StartRun(RunEvent, frozen=True, kw_only=True, tag="startRun"):
    """A run begins, or goes on, with `input_messages`.

    `continues` is the checkpoint, or the run when it was killed between two, whose history comes first. An instruction
    among `input_messages` replaces the one of that history.
    """

    initial_checkpoint: Checkpoint
    input_messages: tuple[Message, ...]
    continues: str | None = None


class StartGeneration(RunEvent, frozen=True, kw_only=True, tag="startGeneration"):
    """The model is asked; `message_count` messages are sent."""

    message_count: int


class Retry(RunEvent, frozen=True, kw_only=True, tag="retry"):
    """A generation failed and is tried again after `delay_ms`; the conversation is unchanged."""

    reason: str
    attempt: int
    delay_ms: int
    usage: Usage


class CompactConversation(RunEvent, frozen=True, kw_only=True, tag="compactConversation"):
    """The context window was nearly full: `summary` stands for all but the head and the newest `kept` messages."""

    summary: UserMessage
    kept: int
    dropped: int
    usage: Usage


class SampleModel(RunEvent, frozen=True, kw_only=True, tag="sampleModel"):
    """A skill's server asked the run's model, as its table allows, and was answered."""

    skill_name: str
    usage: Usage


class ChangeModel(RunEvent, frozen=True, kw_only=True, tag="changeModel"):
    """`previous_model` kept failing, so `model` is asked from here on, by all runs of the job."""

    model: str
    previous_model: str
    reason: str


class CallTools(RunEvent, frozen=True, kw_only=True, tag="callTools"):
    """The model asked for tools. This is recorded before the first call is dispatched."""

    new_message: ExpertMessage
    tool_calls: tuple[ToolCall, ...]
    usage: Usage


class FinishToolExecution(RunEvent, frozen=True, kw_only=True, tag="finishToolExecution"):
    """One call has its result."""

    tool_result: ToolResult
    duration_ms: int


class ReviewToolCall(RunEvent, frozen=True, kw_only=True, tag="reviewToolCall"):
    """A call was denied, or a person was asked; `by` names the rule, the plugin or the person."""

    tool_call_id: str
    tool_name: str
    decision: Literal["allow", "deny"]
    by: str
    reason: str


class ResolveToolResults(RunEvent, frozen=True, kw_only=True, tag="resolveToolResults"):
    """Every call of the step has its result, in call order."""

    tool_results: tuple[ToolResult, ...]


class AttemptCompletion(RunEvent, frozen=True, kw_only=True, tag="attemptCompletion"):
    """The model says it is done, and nothing is left to do."""

    tool_result: ToolResult


class FinishToolCall(RunEvent, frozen=True, kw_only=True, tag="finishToolCall"):
    """The step's results have entered the conversation."""

    new_messages: tuple[Message, ...]


class CallDelegate(RunEvent, frozen=True, kw_only=True, tag="callDelegate"):
    """The model delegates; each child run answers one call."""

    tool_calls: tuple[ToolCall, ...]
    usage: Usage


class CallInteractiveTool(RunEvent, frozen=True, kw_only=True, tag="callInteractiveTool"):
    """The model asks the person something."""

    tool_call: ToolCall
    usage: Usage


class ResumeToolCalls(RunEvent, frozen=True, kw_only=True, tag="resumeToolCalls"):
    """A run goes on with calls that were pending when it stopped."""

    pending_tool_calls: tuple[ToolCall, ...]
    partial_tool_results: tuple[ToolResult, ...]


class ContinueToNextStep(RunEvent, frozen=True, kw_only=True, tag="continueToNextStep"):
    """A step is done; `checkpoint` is where the job can be resumed, `new_messages` what perstack says to the model."""

    checkpoint: Checkpoint
    step: Step
    new_messages: tuple[Message, ...] = ()


class EndOfRun(RunEvent, frozen=True, kw_only=True):
    """A run ends, for good or for now. `usage` and `new_messages` are the last generation's, if not told before."""

    checkpoint: Checkpoint
    step: Step
    usage: Usage = NO_USAGE
    new_messages: tuple[Message, ...] = ()


class CompleteRun(EndOfRun, frozen=True, kw_only=True, tag="completeRun"):
    """The Expert finished; `text` is its answer."""

    text: str


class StopRun(EndOfRun, frozen=True, kw_only=True):
    """A run stopped before it was complete."""


class StopRunByInteractiveTool(StopRun, frozen=True, kw_only=True, tag="stopRunByInteractiveTool"):
    """The run waits for a person's answer."""


class StopRunByDelegate(StopRun, frozen=True, kw_only=True, tag="stopRunByDelegate"):
    """The run waits for its delegates; its skills stay up."""


class StopRunByExceededMaxSteps(StopRun, frozen=True, kw_only=True, tag="stopRunByExceededMaxSteps"):
    """The job used up its steps."""


class StopRunByBudget(StopRun, frozen=True, kw_only=True, tag="stopRunByBudget"):
    """The job used up its tokens, time or money; `budget` says which."""

    budget: str


class StopRunByError(StopRun, frozen=True, kw_only=True, tag="stopRunByError"):
    """The run failed."""

    error: ErrorInfo


class StopRunByCancellation(StopRun, frozen=True, kw_only=True, tag="stopRunByCancellation"):
    """A signal or the caller ended the run; `reason` names it."""

    reason: str


# --- streamed, never journaled --------------------------------------------------------------------------------------


class StartStreamingReasoning(RunEvent, frozen=True, kw_only=True, tag="startStreamingReasoning"):
    """Reasoning begins to arrive."""


class StreamReasoning(RunEvent, frozen=True, kw_only=True, tag="streamReasoning"):
    """A piece of reasoning."""

    delta: str


class CompleteStreamingReasoning(RunEvent, frozen=True, kw_only=True, tag="completeStreamingReasoning"):
    """All of the reasoning."""

    text: str


class StartStreamingRunResult(RunEvent, frozen=True, kw_only=True, tag="startStreamingRunResult"):
    """Text begins to arrive."""


class StreamRunResult(RunEvent, frozen=True, kw_only=True, tag="streamRunResult"):
    """A piece of text."""

    delta: str


class CompleteStreamingRunResult(RunEvent, frozen=True, kw_only=True, tag="completeStreamingRunResult"):
    """All of the text."""

    text: str


# --- the runtime's course -------------------------------------------------------------------------------------------


class InitializeRuntime(Event, frozen=True, kw_only=True, tag="initializeRuntime"):
    """A job starts: what runs it, and every plugin and relaxed control that has a say."""

    runtime_version: str
    runtime: str
    expert_name: str
    experts: tuple[str, ...]
    model: str
    provider: str
    max_steps: int
    max_retries: int
    timeout: int
    workspace: str
    plugins: tuple[PluginRef, ...] = ()
    relaxed_controls: tuple[str, ...] = ()
    query: str | None = None


class ProveBoundary(Event, frozen=True, kw_only=True, tag="proveBoundary"):
    """Every sandbox was tried before any skill was started: a verdict by skill and control, and what got through."""

    runtime: str
    ok: bool
    duration_ms: int
    verdicts: dict[str, dict[str, str]]
    broken: tuple[str, ...] = ()


class SkillStarting(Event, frozen=True, kw_only=True, tag="skillStarting"):
    """A skill's sandbox is being opened."""

    expert_key: str
    skill_name: str
    command: str
    args: tuple[str, ...] = ()


class SkillConnected(Event, frozen=True, kw_only=True, tag="skillConnected"):
    """A skill answered the handshake and listed its tools, which the handshake's duration covers. In milliseconds."""

    expert_key: str
    skill_name: str
    server_name: str = ""
    server_version: str = ""
    tools: tuple[str, ...] = ()
    enforced: tuple[str, ...] = ()
    spawn_duration_ms: int = 0
    handshake_duration_ms: int = 0
    total_duration_ms: int = 0


class SkillStderr(Event, frozen=True, kw_only=True, tag="skillStderr"):
    """A line that a skill wrote to its standard error: untrusted text, bounded and sanitised."""

    skill_name: str
    message: str


class SkillNotice(Event, frozen=True, kw_only=True, tag="skillNotice"):
    """What a skill's server says beside its answers, such as a log message or progress: untrusted text."""

    skill_name: str
    message: str


class SkillViolation(Event, frozen=True, kw_only=True, tag="skillViolation"):
    """A skill broke the protocol; what it sent was dropped."""

    skill_name: str
    message: str


class SkillDisconnected(Event, frozen=True, kw_only=True, tag="skillDisconnected"):
    """A skill's sandbox is closed; `reason` is empty when perstack closed it."""

    skill_name: str
    reason: str = ""


class DockerBuildProgress(Event, frozen=True, kw_only=True, tag="dockerBuildProgress"):
    """An image is being made."""

    stage: Literal["pulling", "building", "complete", "error"]
    service: str
    message: str
    progress: float | None = None


class DockerContainerStatus(Event, frozen=True, kw_only=True, tag="dockerContainerStatus"):
    """A container changed its state."""

    status: Literal["starting", "running", "healthy", "unhealthy", "stopped", "error"]
    service: str
    message: str = ""


class ProxyAccess(Event, frozen=True, kw_only=True, tag="proxyAccess"):
    """A connection was allowed or blocked, which `code` says why, or ended; `opened` is the `sequence` of its start."""

    action: Literal["allowed", "blocked", "closed"]
    domain: str
    port: int
    skill_name: str = ""
    expert_key: str = ""
    reason: str = ""
    code: str = ""
    rule: str = ""
    address: str = ""
    sequence: int = 0
    opened: int | None = None
    bytes_up: int = 0
    bytes_down: int = 0


class PluginEvent(Event, frozen=True, kw_only=True, tag="pluginEvent"):
    """Something that a plugin reports; `data` is the plugin's own."""

    plugin: str
    name: str
    data: JsonObject


StopEvent: TypeAlias = (
    StopRunByInteractiveTool
    | StopRunByDelegate
    | StopRunByExceededMaxSteps
    | StopRunByBudget
    | StopRunByError
    | StopRunByCancellation
)

JournalEvent: TypeAlias = (
    StartRun
    | StartGeneration
    | Retry
    | ChangeModel
    | CompactConversation
    | SampleModel
    | CallTools
    | FinishToolExecution
    | ReviewToolCall
    | CallDelegate
    | CallInteractiveTool
    | ResumeToolCalls
    | ContinueToNextStep
    | CompleteRun
    | StopEvent
    | InitializeRuntime
    | ProveBoundary
    | SkillStarting
    | SkillConnected
    | SkillStderr
    | SkillNotice
    | SkillViolation
    | SkillDisconnected
    | DockerBuildProgress
    | DockerContainerStatus
    | ProxyAccess
    | PluginEvent
)
"""What a journal holds. Everything else is derived from these, or is a streamed piece of one of them."""
