"""Model streams that break: at every event, in every way, in every format. No break is ever taken for an answer."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from conversations import answers, effects, said
from perstack.journal.files import FileStore
from perstack.testing.fake_skill import fake_skill_argv
from perstack.testing.model_server import Call, Cut, ErrorEvent, ModelServer, Raw, Refuse, Turn
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.project import Project, RunResult
from vendors import VENDORS, table

EVENTS = {"chat": 10, "responses": 23, "anthropic": 17, "google": 5, "bedrock": 14}
"""Of one answer of `step`."""
NEEDED = {"chat": 8, "responses": 23, "anthropic": 16, "google": 5, "bedrock": 14}
"""Those up to the finish reason, without which nothing is an answer."""

SKILL = """
[experts.demo]
instruction = "Count."
[experts.demo.skills.counted]
type = "mcpStdioSkill"
"""


class Counted:
    """A project whose skill keeps a list of its calls, and whose model is of `vendor`."""

    def __init__(self, folder: Path, vendor: str) -> None:
        self.log = folder / "calls"
        self.vendor = vendor
        command, *args = fake_skill_argv("--log", str(self.log), "--tools", "echo")
        self.skill = f"{SKILL}command = {json.dumps(command)}\nargs = {json.dumps(args)}\n"
        self.project = Project(folder, self.skill)

    def run(self, server: ModelServer, query: str, *options: str) -> RunResult:
        """One run that asks `server`."""
        self.project.write(self.skill, provider=table(self.vendor, server))
        return self.project.run("demo", query, *options, server=server, env=VENDORS[self.vendor].variables(server))


def step(number: int) -> Turn:
    """An answer of all kinds of events: reasoning, text, two calls."""
    calls = [Call("echo", {"text": f"{number}-{which}"}, id=f"call-{number}-{which}") for which in "ab"]
    return Turn(reasoning="Hm.", text="I count.", calls=calls, piece=64)


class Breaking:
    """Its answer to step n breaks after n events the first time, and is whole the second time."""

    def __init__(self, how: str, events: int) -> None:
        self._how = how
        self._events = events
        self._seen: Counter[int] = Counter()

    def __call__(self, request: ModelRequest) -> Turn:
        number = answers(request)
        if number > self._events:
            return Turn(text="counted")
        turn = step(number)
        self._seen[number] += 1
        if self._seen[number] > 1 or number == self._events:
            return turn
        fault = {
            "drops": Cut(after=number),
            "ends": Cut(after=number, clean=True),
            "says it failed": ErrorEvent(after=number),
        }[self._how]
        return Turn(reasoning=turn.reasoning, text=turn.text, calls=turn.calls, piece=turn.piece, fault=fault)


@pytest.mark.parametrize("how", ["drops", "ends", "says it failed"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_W_15_an_answer_that_breaks_at_any_event_is_asked_for_again(tmp_path: Path, vendor: str, how: str) -> None:
    counted = Counted(tmp_path, vendor)
    events = EVENTS[vendor]
    with ModelServer(Breaking(how, events)) as server:
        result = counted.run(server, "Count.", "--max-retries", "1")
        requests = server.requests
    assert result.exit_code == 0, result.stderr
    assert result.answer == "counted"
    assert effects(counted.log) == Counter({f"{number}-{which}": 1 for number in range(events + 1) for which in "ab"})
    broken = [int(str(number)) - 1 for number in result.values("retry", "stepNumber")]
    assert broken[: NEEDED[vendor]] == list(range(NEEDED[vendor])), "a break is never an answer"
    assert len(requests) == events + 2 + len(broken)
    for earlier, later in pairwise(requests):
        assert said(later)[: len(said(earlier))] == said(earlier), "a break leaves nothing in the conversation"
    verified = FileStore(counted.project.state).verify(result.job_id)
    assert verified.records == sum(1 for event in result.events if event["type"] not in SHOWN_ONLY)


SHOWN_ONLY = {
    "startStreamingReasoning",
    "streamReasoning",
    "completeStreamingReasoning",
    "startStreamingRunResult",
    "streamRunResult",
    "completeStreamingRunResult",
    "resolveToolResults",
    "finishToolCall",
    "attemptCompletion",
}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "fault",
    [
        Cut(after=2),
        Cut(after=4, clean=True),
        ErrorEvent(after=3),
        Refuse(status=503, headers={"Retry-After": "0"}),
        Raw(body=b"data: {broken\n\n"),
        Raw(body=b"<html>down for maintenance</html>", content_type="text/html"),
        Raw(body=b""),
    ],
    ids=["dropped", "ended", "error", "refused", "garbage", "html", "empty"],
)
def test_W_15_W_31_a_model_that_only_breaks_fails_the_run_and_the_job_goes_on_later(
    tmp_path: Path, vendor: str, fault: Cut | ErrorEvent | Refuse | Raw
) -> None:
    counted = Counted(tmp_path, vendor)
    broken = Turn(reasoning="Hm.", text="half a text", calls=step(0).calls, fault=fault, times=None)
    with ModelServer([broken]) as server:
        failed = counted.run(server, "Count.", "--max-retries", "0")
        live = said(server.requests[0])
    assert failed.exit_code == 2, failed.stdout
    assert failed.values("stopRunByError", "checkpoint", "status") == ("stoppedByError",)
    assert failed.of("completeRun", "callTools") == ()
    with ModelServer([step(1), Turn(text="counted")]) as server:
        resumed = counted.run(server, "Go on.", "--continue")
        again = said(server.requests[0])
    assert (resumed.exit_code, resumed.answer) == (0, "counted"), resumed.stderr
    assert again[: len(live)] == live
    assert effects(counted.log) == Counter({"1-a": 1, "1-b": 1}), "no call of a broken answer was dispatched"
    assert FileStore(counted.project.state).verify(failed.job_id).records > 0


@pytest.mark.parametrize("vendor", VENDORS)
def test_calls_that_share_an_id_are_both_made_and_answered_live_and_resumed(tmp_path: Path, vendor: str) -> None:
    counted = Counted(tmp_path, vendor)
    calls = [Call("echo", {"text": text}, id="the-same") for text in ("a", "b")]
    with ModelServer([Turn(calls=calls), Turn(text="counted"), Turn(text="again")]) as server:
        result = counted.run(server, "Count.")
        resumed = counted.run(server, "Go on.", "--continue")
        _, second, third = server.requests
    assert (result.answer, resumed.answer) == ("counted", "again")
    assert effects(counted.log) == Counter({"a": 1, "b": 1})
    assert [("a" in text, "b" in text) for text in map(inside, second.tool_results)] == [(True, False), (False, True)]
    assert said(third)[: len(said(second))] == said(second)


def inside(result: str) -> str:
    """What a skill said, without the marks around it."""
    return result.partition("\n")[2].rpartition("\n")[0] or result
