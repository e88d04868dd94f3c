"""Journals of jobs that never ran, made of the same events that a run writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
from perstack.checkpoints import Checkpoint, DelegatedBy, ExpertRef, Step
from perstack.events import (
    CallDelegate,
    CallTools,
    CompleteRun,
    ContinueToNextStep,
    Event,
    FinishToolExecution,
    InitializeRuntime,
    Retry,
    ReviewToolCall,
    SkillConnected,
    StartGeneration,
    StartRun,
    StopRunByDelegate,
)
from perstack.journal.files import FileStore
from perstack.messages import ExpertMessage, TextPart, ToolCall, ToolResult, Usage, UserMessage

USAGE = Usage(input_tokens=100, output_tokens=20, total_tokens=120)
NOON = 1_763_812_800_000
"""2025-11-22T12:00:00Z in milliseconds."""


def expert(key: str) -> ExpertRef:
    return ExpertRef(key=key, name=key, version="1.0.0")


@dataclass(kw_only=True)
class Script:
    """Makes the events of one job, a second apart."""

    job_id: str
    run_id: str = "run1"
    expert_key: str = "writer"
    step: int = 0
    now: int = NOON
    made: list[Event] = field(default_factory=list)

    def base(self) -> dict[str, object]:
        self.now += 1000
        return {"id": f"e{len(self.made)}", "timestamp": self.now, "job_id": self.job_id, "run_id": self.run_id}

    def run_base(self) -> dict[str, object]:
        return {**self.base(), "expert_key": self.expert_key, "step_number": self.step}

    def add(self, kind: type[Event], **fields: object) -> None:
        base = self.run_base() if "step_number" in kind.__struct_fields__ else self.base()
        self.made.append(kind(**base, **fields))

    def checkpoint(self, checkpoint_id: str, status: str = "proceeding", **fields: object) -> Checkpoint:
        return Checkpoint(
            id=checkpoint_id,
            job_id=self.job_id,
            run_id=self.run_id,
            status=status,
            step_number=self.step,
            expert=expert(self.expert_key),
            usage=USAGE,
            message_count=2,
            **fields,
        )

    def spent(self) -> Step:
        return Step(
            step_number=self.step, usage=USAGE, tool_call_count=1, started_at=self.now, finished_at=self.now + 500
        )

    def begin(self, query: str, *, delegated_by: DelegatedBy | None = None, continues: str | None = None) -> None:
        said = (UserMessage(id="u1", contents=(TextPart(text=query),)),)
        checkpoint = self.checkpoint(f"{self.run_id}-start", "init", delegated_by=delegated_by)
        self.add(StartRun, initial_checkpoint=checkpoint, input_messages=said, continues=continues)

    def tool_step(self, tool: str, args: dict[str, object], answer: str, *, is_error: bool = False) -> None:
        self.step += 1
        call = ToolCall(id=f"t{self.step}", skill_name="@perstack/base", tool_name=tool, args=args)
        result = ToolResult(
            id=call.id, skill_name=call.skill_name, tool_name=tool, result=(TextPart(text=answer),), is_error=is_error
        )
        message = ExpertMessage(id=f"m{self.step}", contents=(TextPart(text=f"I call {tool}."),))
        self.add(StartGeneration, message_count=2)
        self.add(CallTools, new_message=message, tool_calls=(call,), usage=USAGE)
        self.add(FinishToolExecution, tool_result=result, duration_ms=12)
        self.add(ContinueToNextStep, checkpoint=self.checkpoint(f"{self.run_id}-c{self.step}"), step=self.spent())

    def complete(self, text: str) -> None:
        self.step += 1
        self.add(StartGeneration, message_count=4)
        checkpoint = self.checkpoint(f"{self.run_id}-end", "completed")
        self.add(CompleteRun, checkpoint=checkpoint, step=self.spent(), text=text, usage=USAGE)


def plain_job(job_id: str = "job1", *, steps: int = 2) -> list[Event]:
    """A job with `steps` tool calls, the second of which fails, and an answer."""
    script = Script(job_id=job_id)
    script.add(
        InitializeRuntime,
        runtime_version="0.1.0",
        runtime="local",
        expert_name="writer",
        experts=("writer",),
        model="scripted",
        provider="openai",
        max_steps=100,
        max_retries=5,
        timeout=300_000,
        workspace="/srv/project",
    )
    script.add(SkillConnected, expert_key="writer", skill_name="@perstack/base", tools=("readTextFile", "exec"))
    script.begin("Copy the name")
    for number in range(steps):
        if number % 2:
            script.tool_step("exec", {"command": "false"}, "it failed", is_error=True)
        else:
            script.tool_step("readTextFile", {"path": f"name{number}.txt"}, f"error: is a word in file {number}")
    script.complete("Done: Ada")
    return script.made


def delegating_job(job_id: str = "job2") -> list[Event]:
    """A job whose Expert calls ``translator``, is denied a call, retries, and is continued in a second run."""
    parent = Script(job_id=job_id)
    parent.begin("Translate it")
    parent.step = 1
    call = ToolCall(id="t1", skill_name="", tool_name="translator", args={"query": "Translate Ada"})
    parent.add(CallTools, new_message=ExpertMessage(id="m", contents=()), tool_calls=(call,), usage=USAGE)
    parent.add(CallDelegate, tool_calls=(call,), usage=USAGE)
    parent.add(StopRunByDelegate, checkpoint=parent.checkpoint("c-wait", "stoppedByDelegate"), step=parent.spent())
    caller = DelegatedBy(
        expert=expert("writer"), tool_call_id="t1", tool_name="translator", checkpoint_id="c-wait", run_id="run1"
    )
    child = Script(job_id=job_id, run_id="run2", expert_key="translator", step=1, now=parent.now, made=parent.made)
    child.begin("Translate Ada", delegated_by=caller)
    child.add(Retry, reason="The model's server was busy.", attempt=1, delay_ms=500, usage=USAGE)
    child.add(ReviewToolCall, tool_call_id="t9", tool_name="exec", decision="deny", by="guard", reason="not here")
    child.complete("Ada")
    parent.now = child.now
    parent.begin("", continues="run1")
    parent.step = 2
    parent.complete("Done")
    again = Script(job_id=job_id, run_id="run3", step=3, now=parent.now, made=parent.made)
    again.begin("And once more", continues="run1-end")
    again.complete("Done again")
    return again.made


def write(store: FileStore, job_id: str, events: Iterable[Event]) -> str:
    """Journal `events` and return the head."""
    journal = store.create(job_id)
    for event in events:
        journal.append(msgspec.json.encode(event))
    journal.close()
    return journal.head
