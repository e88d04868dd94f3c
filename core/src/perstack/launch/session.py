"""A job while it runs: its journal, its runtime, its recorder, and the way back when it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio

from perstack import __version__
from perstack.engine.budget import Budget
from perstack.engine.context import AskPerson, JobContext, ModelClient, OpenTools
from perstack.engine.job import Job
from perstack.engine.models import Models
from perstack.engine.recorder import Recorder, Watcher
from perstack.engine.resume import Resumption, parse_answer, pending_questions, replay
from perstack.engine.state import JobState, RunState
from perstack.errors import JobNotFound, UsageError
from perstack.events import InitializeRuntime, PluginRef
from perstack.ids import new_id
from perstack.journal.files import local_state_dir
from perstack.launch.asking_back import AskingBack
from perstack.launch.host_gate import Gates, open_gate
from perstack.launch.outbound import recording
from perstack.launch.overlay import overlay
from perstack.launch.plan import RunPlan
from perstack.launch.signals import ended_by_signals
from perstack.launch.sinks import event_sinks
from perstack.launch.tooling import Tooling, job_outputs
from perstack.sandbox.denials import Denials
from perstack.sandbox.lease import check_works
from perstack.specs import ProviderContext, RuntimeContext

if TYPE_CHECKING:
    from perstack.protocols import JournalStore, JournalWriter, Runtime
    from perstack.staging.attribution import Attribution
    from perstack.tools.review import Approver


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A job that ended: the coordinator's state, and the newest link of its journal's chain."""

    job_id: str
    run: RunState
    head: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """The ways to reach the person: whether a call may go ahead, and what they answer to a question of an Expert."""

    approve: Approver
    answer: AskPerson


async def run_job(plan: RunPlan, *, watchers: Sequence[Watcher], person: Person) -> Ended:
    """The job's end, whichever it is; what led to it is in the journal and was shown to `watchers`.

    Raises:
        UsageError: The job cannot go on like this.
        JournalError: The journal cannot be used.
        SandboxError: The runtime does not work here.
        PolicyError: The runtime enforces less than is required, or than it claims.
        Interrupted: A signal ended the job, which left a checkpoint.
    """
    store = open_store(plan)
    job_id, writer, resumption = open_journal(plan, store)
    try:
        async with AsyncExitStack() as stack:
            sinks = await stack.enter_async_context(event_sinks(plan.registry.sinks))
            state = resumption.job if resumption else JobState()
            recorder = Recorder(
                job_id=job_id, journal=writer, redactor=plan.redactor, watchers=(*watchers, *sinks), state=state
            )
            await stack.enter_async_context(ended_by_signals(lambda: _how_to_go_on(plan, recorder)))
            gates = await stack.enter_async_context(open_gate(plan, recorder))
            changes = await stack.enter_async_context(overlay(plan, job_id))
            run = await _run(plan, recorder, resumption, person, gates, changes)
    finally:
        writer.close()
    return Ended(job_id=job_id, run=run, head=writer.head)


def _how_to_go_on(plan: RunPlan, recorder: Recorder) -> str:
    """What a person does next with a job that a signal ended, perhaps before it began."""
    root = recorder.state.root
    asked = root is not None and pending_questions(recorder.state.runs[root])
    query, option = ('"ANSWER"', " -i") if asked else ('"go on"', "")
    return f"Go on with: perstack run {plan.request.expert} {query} --continue-job {recorder.job_id}{option}"


async def _run(
    plan: RunPlan,
    recorder: Recorder,
    resumption: Resumption | None,
    person: Person,
    gates: Gates,
    changes: Attribution | None,
) -> RunState:
    client = ModelClient(lambda: plan.provider.factory(_provider_context(plan, recorder, gates)))
    denials = Denials(recorder.notify)
    runtime = await _runtime(plan, recorder, denials)
    _announce(plan, recorder)
    if plan.request.prove:
        from perstack.launch.proof import prove_run

        await prove_run(plan, recorder)
    back = AskingBack(person.answer, redact=plan.redactor.text)
    tooling = Tooling(
        plan=plan,
        recorder=recorder,
        runtime=runtime,
        approver=person.approve,
        back=back,
        gates=gates.skills,
        denials=denials,
        outputs=job_outputs(plan, recorder),
        changes=changes,
    )
    context = _context(plan, recorder, client, tooling.open, person)
    back.job = context
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(client.warm_up)
            with anyio.move_on_at(context.budget.deadline):
                await _go(Job(context), plan, resumption)
    finally:
        with anyio.CancelScope(shield=True):
            await client.aclose()
    return recorder.state.root_run


async def _runtime(plan: RunPlan, recorder: Recorder, denials: Denials) -> Runtime:
    """The plan's runtime, which works here."""
    runtime = plan.runtime.factory(
        RuntimeContext(
            run_id=new_id(),
            job_id=recorder.job_id,
            state_dir=local_state_dir(plan.request.state_dir),
            notify=denials.notify,
            policies=plan.decision.skills,
            egress=plan.egress,
        )
    )
    await check_works(plan.runtime.name, runtime)
    return runtime


def _provider_context(plan: RunPlan, recorder: Recorder, gates: Gates) -> ProviderContext:
    context = plan.provider_context
    return replace(context, network=replace(context.network, gate=gates.model, access=recording(recorder)))


async def _go(job: Job, plan: RunPlan, resumption: Resumption | None) -> None:
    request = plan.request
    if resumption is None:
        await job.run(request.expert, query=request.query)
        return
    answer = parse_answer(request.query, resumption.run) if request.is_answer else None
    await job.run(
        request.expert,
        query=None if answer else request.query,
        earlier=resumption.run,
        checkpoint_id=resumption.checkpoint_id,
        answer=answer,
    )


def open_store(plan: RunPlan) -> JournalStore:
    """The store that ``--state-dir`` names."""
    scheme, separator, place = plan.request.state_dir.partition("://")
    if not separator:
        scheme, place = "file", plan.request.state_dir
    return plan.registry.storage(scheme).factory(place)


def open_journal(plan: RunPlan, store: JournalStore) -> tuple[str, JournalWriter, Resumption | None]:
    """The job's id, its journal, and where it goes on when it is not new.

    Raises:
        JobNotFound: There is no such job or checkpoint.
        UsageError: The job is another Expert's, or waits for another kind of input.
    """
    request = plan.request
    if request.continue_job is None:
        job_id = request.job_id or new_id()
        return job_id, store.create(job_id), None
    job_id = request.continue_job or _newest(store)
    writer = store.reopen(job_id)
    try:
        resumption = replay(store.read(job_id), job_id=job_id, checkpoint_id=request.resume_from)
        _check_goes_on(plan, resumption)
    except BaseException:
        writer.close()
        raise
    return job_id, writer, resumption


def _newest(store: JournalStore) -> str:
    jobs = store.jobs()
    if not jobs:
        raise JobNotFound("There is no job to continue.", hint="Start one without --continue.")
    return jobs[0]


def _check_goes_on(plan: RunPlan, resumption: Resumption) -> None:
    request, run = plan.request, resumption.run
    if run.expert.key != request.expert:
        raise UsageError(
            f"The job was started with Expert {run.expert.key!r}, not {request.expert!r}.",
            hint=f"Continue it with {run.expert.key!r}.",
        )
    pending = pending_questions(run)
    unattended = run.status == "stoppedByInteractiveTool"  # one that was interrupted at the question puts it again
    if pending and unattended and not request.is_answer:
        raise UsageError(
            f"The job waits for an answer to {pending[0].tool_name!r}.", hint="Give it as the query, and add -i."
        )
    if resumption.job.steps >= plan.loaded.project.max_steps:
        raise UsageError(
            f"The job has used {resumption.job.steps} steps, and {plan.loaded.project.max_steps} are allowed.",
            hint=f"Allow more with: --max-steps {resumption.job.steps * 2}",
        )


def _announce(plan: RunPlan, recorder: Recorder) -> None:
    project = plan.loaded.project
    recorder.record(
        InitializeRuntime(
            **recorder.stamp(recorder.job_id),
            runtime_version=__version__,
            runtime=plan.runtime.name,
            expert_name=plan.request.expert,
            experts=tuple(plan.decision.experts),
            model=plan.models[0].name,
            provider=plan.provider.name,
            max_steps=project.max_steps,
            max_retries=project.max_retries,
            timeout=project.timeout,
            workspace=str(plan.request.workspace),
            plugins=tuple(
                PluginRef(name=record.name, version=record.version)
                for record in plan.registry.records
                if record.status == "active"
            ),
            relaxed_controls=tuple(sorted(project.policy.relax)),
            query=plan.request.query,
        )
    )


def _context(plan: RunPlan, recorder: Recorder, client: ModelClient, tools: OpenTools, person: Person) -> JobContext:
    project = plan.loaded.project
    return JobContext(
        recorder=recorder,
        client=client,
        models=Models(plan.models),
        budget=_budget(plan),
        experts=plan.decision.experts,
        open_tools=tools,
        workspace=plan.request.workspace,
        max_retries=project.max_retries,
        timeout=project.timeout / 1000,
        ask_person=person.answer,
        provider_tools={key: tools.given for key, tools in plan.provider_tools.items()},
    )


def _budget(plan: RunPlan) -> Budget:
    project = plan.loaded.project
    seconds = project.max_duration / 1000 if project.max_duration is not None else None
    return Budget(
        steps=project.max_steps,
        tokens=project.max_tokens,
        cost=project.max_cost,
        deadline=math.inf if seconds is None else time.monotonic() + seconds,
    )
