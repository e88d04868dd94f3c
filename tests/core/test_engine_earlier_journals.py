"""Journals of earlier versions are read as they were meant."""

from __future__ import annotations

import json

from perstack.engine.resume import replay
from perstack.messages import TextPart, ThinkingPart, ToolCallPart, ToolMessage
from perstack.protocols import Record

STAMP = {"id": "e", "timestamp": 1, "jobId": "j", "runId": "r", "expertKey": "demo", "stepNumber": 1}
EXPERT = {"key": "demo", "name": "demo", "version": "1.0.0"}
USAGE = {"inputTokens": 12, "outputTokens": 5, "reasoningTokens": 0, "cachedInputTokens": 0, "totalTokens": 17}
ASKED = {"type": "userMessage", "id": "m1", "contents": [{"type": "textPart", "text": "Go."}]}
SAID = {
    "type": "expertMessage",
    "id": "m2",
    "contents": [
        {"type": "thinkingPart", "thinking": "Hm.", "signature": "anthropic:proof"},
        {"type": "textPart", "text": "I look."},
        {"type": "toolCallPart", "toolCallId": "c1", "toolName": "look", "args": {"path": "."}},
    ],
}
CALL = {"id": "c1", "skillName": "s", "toolName": "look", "args": {"path": "."}}
RESULT = {"id": "c1", "skillName": "s", "toolName": "look", "result": [{"type": "textPart", "text": "nothing"}]}
STEP = {"stepNumber": 1, "usage": USAGE, "toolCallCount": 1, "startedAt": 1, "finishedAt": 2}


def checkpoint(status: str) -> dict[str, object]:
    place = {"id": "c", "jobId": "j", "runId": "r", "status": status, "stepNumber": 1}
    return {**place, "expert": EXPERT, "usage": USAGE, "messageCount": 1}


EVENTS: list[dict[str, object]] = [
    {"type": "startRun", "initialCheckpoint": checkpoint("init"), "inputMessages": [ASKED]},
    {"type": "startGeneration", "messageCount": 1},
    {"type": "callTools", "newMessage": SAID, "toolCalls": [CALL], "usage": USAGE},
    {"type": "finishToolExecution", "toolResult": RESULT, "durationMs": 3},
    {"type": "continueToNextStep", "checkpoint": checkpoint("proceeding"), "step": STEP},
]


def test_a_journal_without_what_came_later_gives_the_conversation_that_it_held() -> None:
    events = [json.dumps({**STAMP, **event}).encode() for event in EVENTS]
    records = [Record(seq=number, event=event, link="") for number, event in enumerate(events, 1)]
    run = replay(records, job_id="j", checkpoint_id=None).run
    first, said, results = run.messages
    assert first.contents == (TextPart(text="Go."),)
    assert said.contents == (
        ThinkingPart(thinking="Hm.", signature="anthropic:proof"),
        TextPart(text="I look."),
        ToolCallPart(tool_call_id="c1", tool_name="look", args={"path": "."}),
    )
    assert isinstance(results, ToolMessage)
    assert results.contents[0].contents == (TextPart(text="nothing"),)
    assert run.usage.total_tokens == 17
