"""What reaches a person's eyes."""

from __future__ import annotations

import io
import json
import os
import pty
import secrets

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack.checkpoints import Checkpoint, DelegatedBy, ErrorInfo, ExpertRef, Step
from perstack.events import (
    CallDelegate,
    CallTools,
    CompleteRun,
    Event,
    FinishToolExecution,
    JournalEvent,
    ReviewToolCall,
    SkillConnected,
    SkillStderr,
    StartGeneration,
    StartRun,
    StopRunByError,
    StreamRunResult,
)
from perstack.messages import ExpertMessage, ImagePart, TextPart, ToolCall, ToolResult, Usage, UserMessage
from perstack.terminal.describe import describe, duration
from perstack.terminal.output import Output, ascii_json, show_answer
from perstack.terminal.progress import Screen

HOSTILE = "\x1b]52;c;cGF5bG9hZA==\x07\x1b[2J\x9b31m\u202e\u200b\r\b\U000e0041"
UNSAFE = set("\x1b\x07\x9b\u202e\u200b\r\b\U000e0041")
EXPERT = ExpertRef(key="writer", name="writer", version="1.0.0")
USAGE = Usage(input_tokens=1000, output_tokens=234, total_tokens=1234)
BASE = {"id": "e1", "timestamp": 1_763_815_568_000, "job_id": "j1", "run_id": "r1"}
RUN = {**BASE, "expert_key": "writer", "step_number": 3}


def checkpoint(run_id: str = "r1", delegated_by: DelegatedBy | None = None) -> Checkpoint:
    return Checkpoint(
        id="c1",
        job_id="j1",
        run_id=run_id,
        status="completed",
        step_number=3,
        expert=EXPERT,
        usage=USAGE,
        message_count=2,
        delegated_by=delegated_by,
    )


STEP = Step(step_number=3, usage=USAGE, tool_call_count=1, started_at=0, finished_at=1500)
CALL = ToolCall(id="t1", skill_name="@perstack/base", tool_name="readTextFile", args={"path": "name.txt", "from": 1})
MESSAGE = ExpertMessage(id="m1", contents=(TextPart(text="I read the file."),))


def result(text: str, *, is_error: bool = False) -> ToolResult:
    return ToolResult(
        id="t1",
        skill_name="@perstack/base",
        tool_name="readTextFile",
        result=(TextPart(text=text),),
        is_error=is_error,
    )


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def screen(stream: io.StringIO, **environ: str) -> Screen:
    return Screen(Output(stream, environ), clock=lambda: 0.0)


def words(event: Event, *, verbose: bool = False) -> str:
    return "\n".join(line.text for line in describe(event, verbose=verbose))


def test_T16_a_call_is_shown_with_its_arguments_and_its_result():
    shown = words(CallTools(**RUN, new_message=MESSAGE, tool_calls=(CALL,), usage=USAGE))
    assert shown == 'I read the file.\nreadTextFile(path="name.txt", from=1)'
    finished = FinishToolExecution(**RUN, tool_result=result("Ada\nLovelace"), duration_ms=12)
    assert words(finished) == "readTextFile ok, 12 ms: Ada\\nLovelace"
    assert words(finished, verbose=True) == "readTextFile ok, 12 ms: \n  Ada\n  Lovelace"


def test_W_45_success_is_what_the_flag_says_and_not_how_the_text_begins():
    fine = FinishToolExecution(**RUN, tool_result=result("error: is a word of this file"), duration_ms=1)
    broken = FinishToolExecution(**RUN, tool_result=result("all is well", is_error=True), duration_ms=1)
    assert [line.tone for line in describe(fine)] == ["good"]
    assert [line.tone for line in describe(broken)] == ["bad"]


def test_W_45_a_delegation_names_the_expert_and_its_query():
    call = ToolCall(id="t1", skill_name="", tool_name="translator", args={"query": "Translate this"})
    assert words(CallDelegate(**RUN, tool_calls=(call,), usage=USAGE)) == "delegates to translator: Translate this"


def test_an_image_is_described_and_not_dumped():
    image = ToolResult(
        id="t",
        skill_name="s",
        tool_name="readImageFile",
        result=(ImagePart(encoded_data="A" * 400, mime_type="image/png"),),
    )
    assert words(FinishToolExecution(**RUN, tool_result=image, duration_ms=1)).endswith("[image/png, 300 bytes]")


@pytest.mark.parametrize("verbose", [False, True])
def test_AO2_no_event_carries_a_terminal_command_to_a_person(verbose):
    """Every journaled event type, with hostile bytes in each of its texts."""
    types = JournalEvent.__args__
    for kind in types:
        event = msgspec.convert(_hostile(msgspec.inspect.type_info(kind)), kind)
        shown = words(event, verbose=verbose)
        assert not UNSAFE & set(shown), kind
        assert "\x1b" not in shown
    assert len(types) > 20


def _hostile(kind: msgspec.inspect.Type) -> object:
    match kind:
        case msgspec.inspect.StructType(fields=fields, tag=tag):
            value = {field.encode_name: _hostile(field.type) for field in fields}
            return value | ({"type": tag} if tag else {})
        case msgspec.inspect.LiteralType(values=values):
            return values[0]
        case msgspec.inspect.StrType():
            return HOSTILE
        case msgspec.inspect.VarTupleType(item_type=item):
            return [_hostile(item)]
        case msgspec.inspect.UnionType(types=types):
            return _hostile(types[0])
        case msgspec.inspect.DictType(value_type=msgspec.inspect.StrType() | msgspec.inspect.DictType() as value):
            return {HOSTILE: _hostile(value)}
        case msgspec.inspect.DictType() | msgspec.inspect.AnyType():
            return {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}], "query": HOSTILE}
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.FloatType():
            return 0.5
    return 7


def test_AO2_the_answer_is_whole_and_without_terminal_commands():
    stream = io.StringIO()
    text = "x" * 50_000 + HOSTILE + "\nlast line"
    show_answer(Output(stream, {}), text)
    shown = stream.getvalue()
    assert shown.startswith("x" * 50_000)
    assert shown.endswith("\nlast line\n")
    assert not UNSAFE & set(shown)


@given(st.recursive(st.text() | st.integers(), st.lists, max_leaves=6))
def test_AO2_json_for_a_terminal_is_printable_ascii_with_the_same_value(value):
    data = msgspec.json.encode({"value": value, "hostile": HOSTILE})
    shown = ascii_json(data)
    assert all(" " <= char <= "~" for char in shown)
    assert json.loads(shown) == json.loads(data)


def test_plain_lines_are_written_where_there_is_no_terminal():
    stream = io.StringIO()
    shown = screen(stream)
    start = UserMessage(id="u", contents=(TextPart(text="Copy the name"),))
    shown.event(
        SkillConnected(**BASE, expert_key="writer", skill_name="@perstack/base", tools=("a", "b"), total_duration_ms=43)
    )
    shown.event(StartRun(**{**RUN, "step_number": 0}, initial_checkpoint=checkpoint(), input_messages=(start,)))
    shown.event(StartGeneration(**RUN, message_count=2))
    shown.event(StreamRunResult(**RUN, delta="I read"))
    shown.event(CallTools(**RUN, new_message=MESSAGE, tool_calls=(CALL,), usage=USAGE))
    shown.event(FinishToolExecution(**RUN, tool_result=result("Ada"), duration_ms=12))
    shown.event(CompleteRun(**RUN, checkpoint=checkpoint(), step=STEP, text="Done: Ada"))
    shown.close()
    assert stream.getvalue().splitlines() == [
        "@perstack/base connected: 2 tools, 43 ms",
        "writer: Copy the name",
        "[3] I read the file.",
        '[3] readTextFile(path="name.txt", from=1)',
        "[3] readTextFile ok, 12 ms: Ada",
        "[3] completed after 1,234 tokens",
    ]


def test_a_delegate_is_indented_below_its_caller_and_its_answer_is_shown():
    stream = io.StringIO()
    shown = screen(stream)
    caller = DelegatedBy(expert=EXPERT, tool_call_id="t1", tool_name="translator", checkpoint_id="c1", run_id="r1")
    child = {**RUN, "run_id": "r2", "expert_key": "translator"}
    shown.event(StartRun(**RUN, initial_checkpoint=checkpoint(), input_messages=()))
    shown.event(StartRun(**child, initial_checkpoint=checkpoint("r2", caller), input_messages=()))
    shown.event(CompleteRun(**child, checkpoint=checkpoint("r2", caller), step=STEP, text="Bonjour"))
    assert stream.getvalue().splitlines() == [
        "[3] writer",
        "  [3] translator, called by writer",
        "  [3] completed after 1,234 tokens",
        "  [3] Bonjour",
    ]


def test_a_terminal_gets_a_status_line_that_is_gone_at_the_end():
    stream = Tty()
    shown = screen(stream, TERM="xterm")
    shown.event(StartGeneration(**RUN, message_count=2))
    assert stream.getvalue().endswith("step 3 · 0 tokens · 0 ms · waiting for the model\x1b[0m")
    shown.event(StopRunByError(**RUN, checkpoint=checkpoint(), step=STEP, error=ErrorInfo(name="E", message="no")))
    shown.close()
    assert stream.getvalue().endswith("\r\x1b[2K")
    assert "\x1b[31m" in stream.getvalue()


def test_a_stream_of_deltas_redraws_at_most_ten_times_a_second():
    now = 0.0
    stream = Tty()
    shown = Screen(Output(stream, {"TERM": "xterm"}), clock=lambda: now)
    for _ in range(1000):
        now += 0.001
        shown.event(StreamRunResult(**RUN, delta="x"))
    assert 5 <= stream.getvalue().count("\x1b[2K") <= 11


def test_no_color_and_dumb_terminals_are_respected():
    for environ, coloured, live in (
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, False),
    ):
        output = Output(Tty(), environ)
        assert (output.style("x", "bad") != "x") is coloured
        assert output.live is live
    assert Output(io.StringIO(), {}).style("x", "bad") == "x"


def test_a_stream_that_lacks_a_character_gets_its_escape():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Output(stream, {}).line("é·")
    assert raw.getvalue() == b"\\xe9\\xb7\n"


def test_AO2_a_denied_call_and_a_skills_stderr_stay_on_one_line_each():
    stream = io.StringIO()
    shown = screen(stream)
    canary = secrets.token_hex(8)
    shown.event(SkillStderr(**BASE, skill_name="x\ny", message=f"{canary}\n[3] completed after 0 tokens"))
    shown.event(
        ReviewToolCall(**RUN, tool_call_id="t", tool_name="exec", decision="deny", by="guard\n", reason="no\nforged")
    )
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert canary in lines[0]
    assert lines[1] == "[3] exec denied by guard\\n: no\\nforged"


def test_durations_read_well():
    spans = (0, 999, 1000, 61_000, 3_725_000)
    assert [duration(span) for span in spans] == ["0 ms", "999 ms", "1.0 s", "1 min 01 s", "1 h 02 min"]


def test_the_width_is_that_of_the_terminal():
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        assert Output(stream, {}).width == 80
    os.close(leader)
