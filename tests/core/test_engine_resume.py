"""Which calls of a job wait for a person, whatever ended it."""

from __future__ import annotations

from typing import get_args

import pytest
from perstack.checkpoints import ExpertRef, RunStatus
from perstack.engine.resume import parse_answer, pending_questions
from perstack.engine.state import RunState
from perstack.errors import UsageError
from perstack.messages import ToolCall, text_of, text_result

EXPERT = ExpertRef(key="a", name="a", version="1.0.0")
COLOUR, NAME, DONE = (
    ToolCall(id=call_id, skill_name=skill, tool_name="tool", args={})
    for call_id, skill in (("c-colour", "person"), ("c-name", "person"), ("c-done", "@perstack/base"))
)


@pytest.mark.parametrize("status", get_args(RunStatus))
def test_W_11_what_was_asked_and_not_answered_waits_however_the_run_ended(status: RunStatus) -> None:
    run = RunState(
        run_id="r",
        expert=EXPERT,
        status=status,
        calls=(COLOUR, NAME, DONE),
        results={COLOUR.id: text_result(COLOUR, "blue")},
        asked=True,
    )
    assert pending_questions(run) == (NAME,)
    assert text_of(parse_answer("Ada", run).result) == "Ada"


@pytest.mark.parametrize("status", get_args(RunStatus))
def test_a_call_that_nobody_was_asked_about_takes_no_answer(status: RunStatus) -> None:
    run = RunState(run_id="r", expert=EXPERT, status=status, calls=(COLOUR, NAME))
    with pytest.raises(UsageError, match="waits for an answer"):
        parse_answer("blue", run)
