"""The way of a call: found, checked, reviewed, through the middleware to its skill, and back as a bounded result.

Whatever goes wrong on the way becomes a result that the model reads; nothing but cancellation escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from perstack.errors import LockMismatch, PerstackError, ToolError
from perstack.messages import ContentPart, TextPart, ToolResult, text_result
from perstack.specs import ToolView
from perstack.tools.arguments import argument_problems, output_problems
from perstack.tools.names import visible
from perstack.tools.results import bounded
from perstack.tools.review import Approver, Reviewers, Verdict, decide, nobody

if TYPE_CHECKING:
    from perstack.messages import JsonObject, ToolCall
    from perstack.protocols import SkillSession
    from perstack.specs import MiddlewareSpec, NextCall
    from perstack.tools.catalogue import Tool, Toolbox

CALL_SECONDS = 300.0
"""For one call."""
EXEC = ("@perstack/base", "exec")
"""The one tool whose caller sets a time limit of its own: `timeout`, in milliseconds."""
EXEC_MARGIN_SECONDS = 30.0
"""For a command that ran out of time to be ended and reported, so that its own answer is the one that arrives."""


class HasSession(Protocol):
    """A connected skill, as far as calls are concerned."""

    @property
    def session(self) -> SkillSession:
        """Where calls go."""
        ...


class Redacts(Protocol):
    """Takes secrets out of text."""

    def text(self, text: str) -> str:
        """`text` without the run's secrets."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class DispatchContext:
    """What calls of one run need beside its tools.

    Attributes:
        expert: Key of the Expert.
        redactor: Applied to every text of every result, before it is cut and before anyone sees it.
        reviewed: Told of each call that was denied, or that a person was asked about.
        timeout: Seconds for one call.
        timeouts: Other seconds for calls of some skills, by the skill's name.
        shorten: Makes a result's contents as short as the model can use.
        blocked: What was kept from a skill, by its name, since this was last asked.
    """

    expert: str
    reviewers: Reviewers
    redactor: Redacts
    approver: Approver = nobody
    reviewed: Callable[[ToolCall, Verdict], None] = lambda *_: None
    timeout: float = CALL_SECONDS
    timeouts: Mapping[str, float] = field(default_factory=dict)
    shorten: Callable[[tuple[ContentPart, ...]], tuple[ContentPart, ...]] = bounded
    blocked: Callable[[str], tuple[str, ...]] = lambda _: ()


class Dispatcher:
    """Serves the tool calls of one run."""

    def __init__(self, toolbox: Toolbox, skills: Mapping[str, HasSession], context: DispatchContext) -> None:
        self._toolbox = toolbox
        self._skills = skills
        self._context = context
        self._layers = sorted(context.reviewers.middleware, key=lambda layer: (layer.stage, layer.name))

    async def admit(self, call: ToolCall) -> ToolResult | None:
        """None when the call may go ahead, else the result that says why not. Calls of every kind pass here."""
        try:
            tool = self._toolbox.find(call.tool_name)
            if tool is None:
                return text_result(call, self._unknown(call.tool_name), is_error=True)
            problems = argument_problems(call.args, tool.source.input_schema)
            if problems:
                return text_result(
                    call, f"The arguments do not fit {call.tool_name!r}: {'; '.join(problems)}.", is_error=True
                )
            return await self._review(call, tool)
        except Exception as error:  # noqa: BLE001 - a check that fails is a denial
            return text_result(call, f"Not executed: checking the call failed ({_told(error)}).", is_error=True)

    async def call(self, call: ToolCall) -> ToolResult:
        """The result of a call to a skill, whatever happens.

        Raises:
            LockMismatch: The skill is not what it was locked to, so nothing more is called.
        """
        refusal = await self.admit(call)
        if refusal is not None:
            return self._finished(call, refusal)
        try:
            result = await self._through(self._layers, call)(call)
            return self._finished(call, result)
        except LockMismatch:
            raise
        except Exception as error:  # noqa: BLE001 - one broken call must not end the run
            return self._finished(call, text_result(call, _told(error), is_error=True))

    async def _review(self, call: ToolCall, tool: Tool) -> ToolResult | None:
        view = ToolView(
            expert=self._context.expert,
            skill=tool.skill,
            name=tool.original,
            description=visible(tool.source.description),
            input_schema=tool.definition.input_schema,
        )
        verdict = await decide(call, view, reviewers=self._context.reviewers, approver=self._context.approver)
        if verdict.by and (verdict.decision == "deny" or verdict.by == "person"):
            self._context.reviewed(call, verdict)
        if verdict.decision == "allow":
            return None
        return text_result(call, f"Not executed: denied by {verdict.by}: {verdict.reason}", is_error=True)

    def _through(self, layers: list[MiddlewareSpec], admitted: ToolCall) -> NextCall:
        """The way through `layers` to the skill, outermost first."""
        if not layers:

            async def innermost(call: ToolCall) -> ToolResult:
                return await self._send(call, admitted)

            return innermost
        layer, rest = layers[0], self._through(layers[1:], admitted)

        async def through(call: ToolCall) -> ToolResult:
            return await layer.call(call, rest)

        return through

    async def _send(self, call: ToolCall, admitted: ToolCall) -> ToolResult:
        """The skill's answer. A call that middleware changed is checked as if the model had made it."""
        if (call.id, call.tool_name) != (admitted.id, admitted.tool_name):
            raise ToolError("A plugin turned the call into another one, which is not allowed.")
        if call.args != admitted.args:
            refusal = await self.admit(call)
            if refusal is not None:
                return refusal
        tool = self._toolbox.find(call.tool_name)
        skill = self._skills.get(tool.skill) if tool else None
        if tool is None or skill is None:
            raise ToolError(f"Nothing serves the tool {call.tool_name!r}.")
        session = skill.session
        if not any(offered == tool.source for offered in session.tools):
            raise ToolError(f"Skill {tool.skill!r} changed or withdrew {call.tool_name!r} since the run began.")
        seconds = self._context.timeouts.get(tool.skill, self._context.timeout)
        try:
            outcome = await session.call(tool.original, call.args, timeout=call_seconds(tool, call.args, least=seconds))
        except ToolError as error:  # its words may be the server's
            failed = text_result(call, str(error), is_error=True)
            return replace(failed, result=(*failed.result, *self._blocked(tool)), untrusted=True)
        if problems := output_problems(tool.source, outcome):
            raise ToolError(f"Skill {tool.skill!r} broke its own output schema: {problems}.")
        return ToolResult(
            id=call.id,
            skill_name=tool.skill,
            tool_name=call.tool_name,
            result=(*outcome.contents, *self._blocked(tool)),
            is_error=outcome.is_error,
            untrusted=True,
        )

    def _blocked(self, tool: Tool) -> tuple[TextPart, ...]:
        return tuple(TextPart(text=line) for line in self._context.blocked(tool.skill))

    def _finished(self, call: ToolCall, result: ToolResult) -> ToolResult:
        """The result under the call's own id, without secrets, and no longer than the model can use."""
        tool = self._toolbox.find(call.tool_name)
        redacted = tuple(self._redacted(part) for part in result.result)
        return ToolResult(
            id=call.id,
            skill_name=tool.skill if tool else call.skill_name,
            tool_name=call.tool_name,
            result=self._context.shorten(redacted),
            is_error=result.is_error,
            untrusted=result.untrusted,
        )

    def _redacted(self, part: ContentPart) -> ContentPart:
        if isinstance(part, TextPart):
            return replace(part, text=self._context.redactor.text(part.text))
        return part

    def _unknown(self, name: str) -> str:
        similar = self._toolbox.similar(name)
        names = similar or tuple(tool.name for tool in self._toolbox)
        return f"There is no tool {name!r}. {'Did you mean' if similar else 'There are'}: {', '.join(names) or 'none'}."


def call_seconds(tool: Tool, args: JsonObject, *, least: float) -> float:
    """Seconds for a call: `least`, or more where a command was given more time than that."""
    asked = args.get("timeout")
    if (tool.skill, tool.original) != EXEC or isinstance(asked, bool) or not isinstance(asked, int | float):
        return least
    return max(least, asked / 1000 + EXEC_MARGIN_SECONDS)


def _told(error: Exception) -> str:
    """An error in words for the model: ours as they are, a plugin's or our own fault by its type."""
    return str(error) if isinstance(error, PerstackError) else f"{type(error).__name__}: {error}"
