"""The tools of a run: its skills brought up, its calls reviewed, its environment resolved at the last moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from perstack.engine.context import Tools
from perstack.engine.models import smallest_window
from perstack.engine.recorder import Recorder
from perstack.events import ReviewToolCall
from perstack.journal.files import local_state_dir
from perstack.launch.plan import RunPlan
from perstack.policy.approvals import reviewers
from perstack.policy.env import env_values
from perstack.protocols import Collecting
from perstack.sandbox.known_tools import known_tools
from perstack.sandbox.lease import LeaseContext, open_skills
from perstack.tools.catalogue import Tool, Toolbox, toolbox
from perstack.tools.dispatch import DispatchContext, Dispatcher, HasSession
from perstack.tools.outputs import SKILL as OUTPUTS_SKILL
from perstack.tools.outputs import Outputs, output_limit
from perstack.tools.results import TEXT_CHARACTERS

if TYPE_CHECKING:
    from perstack.launch.asking_back import AskingBack
    from perstack.messages import ToolCall, ToolDefinition, ToolResult
    from perstack.policy.decide import ExpertPolicy
    from perstack.protocols import Runtime, SkillSession
    from perstack.sandbox.denials import Denials
    from perstack.staging.attribution import Attribution, Send
    from perstack.tools.review import Approver, Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnSkill:
    """A skill that core serves itself."""

    session: SkillSession


class RunTools:
    """The tools of one run while its skills are up."""

    def __init__(self, box: Toolbox, dispatcher: Dispatcher, call: Send) -> None:
        self._box = box
        self.definitions: tuple[ToolDefinition, ...] = box.definitions
        self.find = box.find
        self.admit = dispatcher.admit
        self._call = call

    async def call(self, call: ToolCall) -> ToolResult:
        """The result of a call, whatever happens."""
        return await self._call(call)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._box)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tooling:
    """How the runs of one job get their tools.

    Attributes:
        approver: Asked about calls that a rule neither allows nor denies.
        back: The way from servers back to the person and to the model.
        gates: Sockets of the gate that connections to remote skills go through.
        denials: What the way out refused, for the results of the calls that wanted it.
        changes: Watches the job's copy of the workspace, if there is one.
    """

    plan: RunPlan
    recorder: Recorder
    runtime: Runtime
    approver: Approver
    back: AskingBack
    gates: Mapping[str, str]
    denials: Denials
    outputs: Outputs
    changes: Attribution | None = None

    @asynccontextmanager
    async def open(self, policy: ExpertPolicy, run_id: str, *, interactive: bool) -> AsyncIterator[Tools]:
        """The Expert's tools, while its skills are up; see `perstack.engine.context.OpenTools`."""
        plan, redact = self.plan, self.plan.redactor.json
        env = {skill.skill: env_values(skill, plan.loaded.host_env) for skill in policy.skills}
        lease = self._lease(policy, run_id, interactive=interactive)
        async with open_skills(policy.skills, env=env, context=lease) as skills:
            served: dict[str, HasSession] = {**skills, OUTPUTS_SKILL: OwnSkill(session=self.outputs)}
            listed = {name: skill.session.tools for name, skill in served.items()}
            experts = {key: each.expert for key, each in plan.decision.experts.items()}
            box = toolbox(policy.expert, listed, experts=experts, interactive=interactive, redact=redact)
            dispatcher = Dispatcher(box, served, self._dispatch(policy, run_id))
            yield RunTools(box, dispatcher, _watched(policy, dispatcher, self.changes, self.runtime))

    def _lease(self, policy: ExpertPolicy, run_id: str, *, interactive: bool) -> LeaseContext:
        plan, recorder = self.plan, self.recorder
        return LeaseContext(
            runtime=self.runtime,
            runtime_name=plan.runtime.name,
            registry=plan.registry,
            workspace=plan.request.workspace,
            job_id=recorder.job_id,
            run_id=run_id,
            notify=recorder.notify,
            copy=self.changes.workspace if self.changes else None,
            known=known_tools(local_state_dir(plan.request.state_dir), redact=plan.redactor.json),
            held=plan.held,
            elicit=self.back.elicit() if interactive else None,
            complete=self.back.complete(run_id, policy.key),
            gates=self.gates,
        )

    def _dispatch(self, policy: ExpertPolicy, run_id: str) -> DispatchContext:
        return DispatchContext(
            expert=policy.key,
            reviewers=reviewers(self.plan.loaded, self.plan.registry),
            redactor=self.plan.redactor,
            approver=self.approver,
            reviewed=_Reviewed(self.recorder, run_id, policy.key),
            shorten=self.outputs.shorten,
            blocked=partial(self.denials.take, policy.key),
            timeouts={skill.skill: skill.timeout for skill in policy.skills if skill.timeout is not None},
        )


def job_outputs(plan: RunPlan, recorder: Recorder) -> Outputs:
    """Where long outputs of a job's tools are kept, cut to what its models can read."""
    limit = output_limit(smallest_window(plan.models), most=TEXT_CHARACTERS)
    return Outputs(keep=recorder.journal.keep, kept=recorder.journal.kept, limit=limit)


def _watched(policy: ExpertPolicy, dispatcher: Dispatcher, changes: Attribution | None, runtime: Runtime) -> Send:
    """Calls, and what those of skills that work on the job's copy changed in it."""
    working = {skill.skill for skill in policy.skills for mount in skill.mounts if mount.mode == "overlay"}
    if changes is None:
        return dispatcher.call
    watch = changes

    async def call(call: ToolCall) -> ToolResult:
        if call.skill_name not in working:
            return await dispatcher.call(call)
        return await watch.call(call, collected, expert=policy.key)

    async def collected(call: ToolCall) -> ToolResult:
        try:
            return await dispatcher.call(call)
        finally:
            if isinstance(runtime, Collecting):
                await runtime.collect(watch.workspace)

    return call


class _Reviewed:
    """Records what was decided on a call."""

    def __init__(self, recorder: Recorder, run_id: str, expert_key: str) -> None:
        self._recorder = recorder
        self._run_id = run_id
        self._expert_key = expert_key

    def __call__(self, call: ToolCall, verdict: Verdict) -> None:
        self._recorder.record(
            ReviewToolCall(
                **self._recorder.stamp(self._run_id),
                expert_key=self._expert_key,
                step_number=self._recorder.state.runs[self._run_id].step_number,
                tool_call_id=call.id,
                tool_name=call.tool_name,
                decision="allow" if verdict.decision == "allow" else "deny",
                by=verdict.by,
                reason=verdict.reason,
            )
        )
