"""Events in words, for the live view of a run and for the log alike: one place decides what a person reads.

Whatever a model, a skill or a plugin wrote is cut and sanitised here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from perstack_proxy.sanitise import sanitise, sanitise_line

from perstack.events import (
    CallDelegate,
    CallInteractiveTool,
    CallTools,
    ChangeModel,
    CompactConversation,
    CompleteRun,
    ContinueToNextStep,
    DockerBuildProgress,
    DockerContainerStatus,
    EndOfRun,
    Event,
    FinishToolExecution,
    InitializeRuntime,
    PluginEvent,
    ProveBoundary,
    ProxyAccess,
    ResumeToolCalls,
    Retry,
    ReviewToolCall,
    SampleModel,
    SkillConnected,
    SkillDisconnected,
    SkillNotice,
    SkillStarting,
    SkillStderr,
    SkillViolation,
    StartGeneration,
    StartRun,
    StopRunByBudget,
    StopRunByCancellation,
    StopRunByError,
    StopRunByExceededMaxSteps,
    StopRunByInteractiveTool,
)
from perstack.messages import (
    FilePart,
    ImagePart,
    Message,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolResult,
    UserMessage,
    text_of,
)
from perstack.terminal.output import Tone

BRIEF = 120
"""Characters of an untrusted text in a brief line: with a name and a time it fits two lines of a terminal."""
NAME = 80
"""Characters of a name."""


@dataclass(frozen=True, slots=True)
class Line:
    """Safe text, perhaps of several lines, and how it is meant."""

    text: str
    tone: Tone = "plain"


def describe(event: Event, *, verbose: bool = False) -> tuple[Line, ...]:
    """What `event` says, without its type and time. `verbose` shows texts whole, up to the display's limit."""
    return tuple(_lines(event, _Words(verbose=verbose)))


def counted(count: int, noun: str) -> str:
    """A number of things in words."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(milliseconds: int) -> str:
    """A time span in its most readable unit; one over which the clock was set back is none."""
    milliseconds = max(0, milliseconds)
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Words:
    """How untrusted texts are shown: in brief, or whole."""

    verbose: bool

    def text(self, text: str) -> str:
        """Untrusted text, on one line unless all of it is wanted."""
        if not self.verbose:
            return sanitise_line(text.strip(), limit=BRIEF)
        shown = sanitise(text.strip())
        return shown if "\n" not in shown else "\n  " + shown.replace("\n", "\n  ")

    def call(self, call: ToolCall) -> str:
        """A call as one would write it."""
        args = ", ".join(f"{sanitise_line(key, limit=40)}={self._value(value)}" for key, value in call.args.items())
        return f"{_name(call.tool_name)}({args})"

    def _value(self, value: object) -> str:
        written = msgspec.json.encode(value).decode("utf-8", "replace")
        return sanitise(written) if self.verbose else sanitise_line(written, limit=BRIEF)

    def result(self, result: ToolResult) -> str:
        """What a tool answered."""
        return self.text("\n".join(_part(part) for part in result.result)) or "(nothing)"


def _name(text: str) -> str:
    """A name that somebody else chose."""
    return sanitise_line(text, limit=NAME)


def _part(part: object) -> str:
    match part:
        case TextPart():
            return part.text
        case ImagePart() | FilePart():
            return f"[{part.mime_type}, {len(part.encoded_data) * 3 // 4:,} bytes]"
        case _:
            return ""


def _said(messages: tuple[Message, ...]) -> str:
    return "\n".join(_part(part) for item in messages if isinstance(item, UserMessage) for part in item.contents)


def _lines(event: Event, words: _Words) -> Iterator[Line]:
    match event:
        case StartRun() | StartGeneration() | Retry() | ChangeModel() | ContinueToNextStep() | EndOfRun():
            yield from _course(event, words)
        case CallTools() | FinishToolExecution() | ReviewToolCall() | CallDelegate() | CallInteractiveTool():
            yield from _calls(event, words)
        case SampleModel():
            yield Line(f"{_name(event.skill_name)}: its server asked the model", "dim")
        case CompactConversation():
            yield Line(f"{counted(event.dropped, 'older message')} gave way to a summary", "dim")
            yield Line(words.text(text_of(event.summary.contents)), "dim")
        case ResumeToolCalls():
            yield Line("pending: " + ", ".join(_name(call.tool_name) for call in event.pending_tool_calls))
        case (
            SkillStarting() | SkillConnected() | SkillStderr() | SkillNotice() | SkillViolation() | SkillDisconnected()
        ):
            yield from _skill(event, words)
        case InitializeRuntime() | ProveBoundary():
            yield from _start(event, words)
        case ProxyAccess():
            yield _network(event, words)
        case DockerBuildProgress():
            yield Line(f"{_name(event.service)} {event.stage}: {words.text(event.message)}", "dim")
        case DockerContainerStatus():
            yield Line(f"{_name(event.service)} {event.status} {words.text(event.message)}", "dim")
        case PluginEvent():
            data = msgspec.json.encode(event.data).decode("utf-8", "replace")
            yield Line(f"{sanitise_line(f'{event.plugin} {event.name}', limit=160)} {words.text(data)}")


def _course(
    event: StartRun | StartGeneration | Retry | ChangeModel | ContinueToNextStep | EndOfRun, words: _Words
) -> Iterator[Line]:
    match event:
        case StartRun():
            caller = event.initial_checkpoint.delegated_by
            by = f", called by {_name(caller.expert.key)}" if caller else ""
            on = ", going on" if event.continues else ""
            said = words.text(_said(event.input_messages))
            yield Line(f"{_name(event.expert_key)}{by}{on}{': ' if said else ''}{said}", "strong")
        case StartGeneration():
            yield Line(f"asking the model, {counted(event.message_count, 'message')}", "dim")
        case Retry():
            yield Line(f"attempt {event.attempt} failed, again in {duration(event.delay_ms)}", "bad")
            yield Line(words.text(event.reason), "bad")
        case ChangeModel():
            models = map(_name, (event.previous_model, event.model))
            yield Line("model {} keeps failing, going on with {}".format(*models), "bad")
            yield Line(words.text(event.reason), "bad")
        case ContinueToNextStep(step=step, checkpoint=checkpoint):
            spent = f"{counted(step.usage.total_tokens, 'token')}, {duration(step.finished_at - step.started_at)}"
            yield Line(f"checkpoint {sanitise_line(checkpoint.id, limit=128)}: {spent}", "dim")
        case EndOfRun():
            yield from _end(event, words)


def _end(event: EndOfRun, words: _Words) -> Iterator[Line]:
    spent = counted(event.checkpoint.usage.total_tokens, "token")
    match event:
        case CompleteRun():
            yield Line(f"completed after {spent}", "good")
            yield Line(words.text(event.text))
        case StopRunByError():
            status = f" (status {event.error.status_code})" if event.error.status_code is not None else ""
            yield Line(f"failed: {_name(event.error.name)}{status}", "bad")
            yield Line(words.text(event.error.message), "bad")
        case StopRunByBudget():
            yield Line(f"stopped: used up its {_name(event.budget)}, {spent}", "bad")
        case StopRunByExceededMaxSteps():
            yield Line(f"stopped: used up its steps, {spent}", "bad")
        case StopRunByCancellation():
            yield Line(f"cancelled: {words.text(event.reason)}", "bad")
        case StopRunByInteractiveTool():
            yield Line("waits for an answer", "strong")
        case _:
            yield Line("waits for its delegates", "dim")


def _calls(
    event: CallTools | FinishToolExecution | ReviewToolCall | CallDelegate | CallInteractiveTool, words: _Words
) -> Iterator[Line]:
    match event:
        case CallTools():
            for part in event.new_message.contents:
                if isinstance(part, TextPart | ThinkingPart):
                    said = part.text if isinstance(part, TextPart) else part.thinking
                    if said.strip():
                        yield Line(words.text(said), "dim")
            for call in event.tool_calls:
                yield Line(words.call(call))
        case FinishToolExecution(tool_result=result):
            outcome = "failed" if result.is_error else "ok"
            yield Line(
                f"{_name(result.tool_name)} {outcome}, {duration(event.duration_ms)}: {words.result(result)}",
                "bad" if result.is_error else "good",
            )
        case ReviewToolCall():
            allowed = event.decision == "allow"
            reason = words.text(event.reason)
            verdict = f"{event.tool_name} {'allowed' if allowed else 'denied'} by {event.by}"
            verdict = sanitise_line(verdict, limit=200)
            yield Line(f"{verdict}{': ' if reason else ''}{reason}", "good" if allowed else "bad")
        case CallDelegate():
            for call in event.tool_calls:
                yield Line(
                    f"delegates to {_name(call.tool_name)}: {words.text(str(call.args.get('query', '')))}", "strong"
                )
        case CallInteractiveTool(tool_call=call):
            yield Line(f"asks you: {words.call(call)}", "strong")


def _network(event: ProxyAccess, words: _Words) -> Line:
    of = f"{_name(event.skill_name)}: " if event.skill_name else ""
    place = f"{sanitise_line(event.domain, limit=255)}:{event.port}"
    if event.action == "closed":
        amounts = f"{event.bytes_up} bytes out, {event.bytes_down} in"
        return Line(f"{of}closed {place}: {amounts} ({words.text(event.reason)})", "dim")
    reason = f": {words.text(event.reason)}" if event.reason else ""
    return Line(f"{of}{event.action} {place}{reason}", "bad" if event.action == "blocked" else "plain")


def _skill(
    event: SkillStarting | SkillConnected | SkillStderr | SkillNotice | SkillViolation | SkillDisconnected,
    words: _Words,
) -> Iterator[Line]:
    skill = _name(event.skill_name)
    match event:
        case SkillStarting():
            yield Line(f"{skill} starting: {words.text(' '.join((event.command, *event.args)))}", "dim")
        case SkillConnected():
            controls = sanitise_line(", ".join(event.enforced), limit=BRIEF)
            enforced = f", enforced: {controls}" if controls else ""
            yield Line(
                f"{skill} connected: {counted(len(event.tools), 'tool')}, {duration(event.total_duration_ms)}{enforced}"
            )
        case SkillNotice():
            yield Line(f"{skill}: {words.text(event.message)}", "dim")
        case SkillStderr():
            yield Line(f"{skill} | {words.text(event.message)}", "dim")
        case SkillViolation():
            yield Line(f"{skill} broke the protocol: {words.text(event.message)}", "bad")
        case SkillDisconnected():
            reason = words.text(event.reason)
            yield Line(f"{skill} disconnected{': ' if reason else ''}{reason}", "bad" if reason else "dim")


def _start(event: InitializeRuntime | ProveBoundary, words: _Words) -> Iterator[Line]:
    if isinstance(event, ProveBoundary):
        yield from _proof(event, words)
        return
    head = f"perstack {event.runtime_version}, runtime {event.runtime}, model {event.model} of {event.provider}"
    yield Line(sanitise_line(head, limit=300))
    if event.plugins:
        plugins = ", ".join(f"{plugin.name} {plugin.version}" for plugin in event.plugins)
        yield Line(sanitise_line(f"plugins: {plugins}", limit=1000), "dim")
    if event.relaxed_controls:
        relaxed = ", ".join(event.relaxed_controls)
        yield Line(sanitise_line(f"relaxed by you: {relaxed}", limit=1000), "bad")


def _proof(event: ProveBoundary, words: _Words) -> Iterator[Line]:
    runtime, took = _name(event.runtime), duration(event.duration_ms)
    tried = f"tried {counted(len(event.verdicts), 'skill')} on {runtime}, {took}"
    if event.ok:
        proved = sum(list(verdicts.values()).count("proved") for verdicts in event.verdicts.values())
        yield Line(f"{tried}: {proved} controls hold", "good")
    else:
        yield Line(f"{tried}: not every control holds, so nothing is started", "bad")
    for evidence in event.broken:
        yield Line(words.text(evidence), "bad")
