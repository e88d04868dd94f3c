"""What holds of every job, whatever its Experts do and however often it is killed and goes on.

Hypothesis makes up what the models say, at which record of its journal each process ends and by which signal, and what
the person answers. Every process is real. After each one the journal, the model's server and the skill's own log are
asked whether they tell the same story.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

from conversations import answered_in_order, answers, effects, said
from ending_store import ENDING_STORE, ending_place
from fake_plugins import install
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from perstack.journal.files import FileStore
from perstack.journal.query import entries
from perstack.journal.summary import tally
from perstack.messages import Usage
from perstack.testing.fake_skill import fake_skill_argv
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.model_server.requests import ModelRequest
from perstack.testing.project import Project, RunResult

SOAK = bool(os.environ.get("PERSTACK_SOAK"))

HELPER_KINDS = ("echo", "fail", "listDirectory", "unknown", "broken")
LEAD_KINDS = (*HELPER_KINDS, "helper", "mute", "ask", "echo", "helper")


def scripts(kinds: tuple[str, ...], *, least: int, most: int) -> st.SearchStrategy[list[list[str]]]:
    """Answers in order, each as the kinds of its calls; one without calls is text and ends the run."""
    calls = st.lists(st.sampled_from(kinds), min_size=1, max_size=4)
    return st.lists(st.one_of(calls, calls, calls, st.just([])), min_size=least, max_size=most)


ENDINGS = st.tuples(
    st.sampled_from(["SIGKILL", "SIGKILL", "SIGTERM"]), st.sampled_from(["before", "after"]), st.integers(4, 30)
)
"""A signal, whether it comes before or after a record is written, and the record's number in the process."""


def team(log: Path) -> str:
    command, *args = fake_skill_argv("--log", str(log), "--tools", "echo,fail")
    skill = f'type = "mcpStdioSkill"\ncommand = {json.dumps(command)}\nargs = {json.dumps(args)}\n'
    return (
        '[experts.lead]\ninstruction = "You are the lead."\ndelegates = ["helper"]\n'
        f"[experts.lead.skills.counted]\n{skill}"
        '[experts.lead.skills.person]\ntype = "interactiveSkill"\n[experts.lead.skills.person.tools.ask]\n'
        'description = "Ask."\ninputJsonSchema = \'{"type": "object"}\'\n'
        f'[experts.helper]\ninstruction = "You are the helper."\n[experts.helper.skills.counted]\n{skill}'
    )


class Jobs(RuleBasedStateMachine):
    """One job from its start through stops, kills and answers, with a check after each process."""

    @initialize(lead=scripts(LEAD_KINDS, least=3, most=6), helper=scripts(HELPER_KINDS, least=1, most=3))
    def begin(self, lead: list[list[str]], helper: list[list[str]]) -> None:
        self.scripts = {"lead": lead, "helper": helper}
        self.directory = Path(tempfile.mkdtemp(prefix="perstack-jobs-"))
        self.log = self.directory / "calls"
        site = self.directory / "site"
        site.mkdir()
        install(site, "ending", ENDING_STORE)
        self.environment = {"PYTHONPATH": str(site)}
        self.project = Project(self.directory, team(self.log))
        self.server = ModelServer(self.model)
        self.server.__enter__()
        self.disturbed = False
        self.waiting = False

    def teardown(self) -> None:
        if hasattr(self, "server"):
            self.server.__exit__(None, None, None)
            shutil.rmtree(self.directory)

    # --- what happens ---

    @rule(ending=st.one_of(ENDINGS, ENDINGS, st.none()))
    def run(self, ending: tuple[str, str, int] | None) -> None:
        """A process that is ended at a record, unless the job is done sooner, or one that nobody disturbs."""
        if ending is None:
            result = self.process("Go on.")
            assert result.exit_code in (0, 4), result.stderr
        else:
            self.disturbed = True
            self.process("Go on.", "--state-dir", ending_place(*ending, self.project.state))

    @rule(text=st.sampled_from(["blue", '{"odd": 1}', "no"]))
    def answer(self, text: str) -> None:
        """The person answers; where nobody asked, which may differ from try to try, the job goes on with it."""
        result = self.process(text)
        assert result.exit_code in (0, 4), result.stderr

    def process(self, query: str, *options: str) -> RunResult:
        if self.waiting:
            options = (*options, "-i")
        if self.begun:
            options = (*options, "--continue-job", "job")
        else:  # what was ended before it began cannot go on
            shutil.rmtree(self.project.state / "jobs" / "job", ignore_errors=True)
            options = (*options, "--job-id", "job")
        result = self.project.run("lead", query, *options, server=self.server, env=self.environment)
        assert "internal error" not in result.stderr, result.stderr
        self.waiting = self.is_waiting()
        self.check(result)
        return result

    def model(self, request: ModelRequest) -> Turn:
        """The next answer of whichever Expert asks; what it costs says which request it was."""
        who = "lead" if "You are the lead." in request.system else "helper"
        script, number = self.scripts[who], answers(request)
        kinds = script[number] if number < len(script) else []
        usage = Usage(input_tokens=request.index + 1, output_tokens=2, total_tokens=request.index + 3)
        calls = [self.call(kind, f"{who}-{request.index}-{place}") for place, kind in enumerate(kinds)]
        return Turn(text="" if calls else f"{who} is done", calls=calls, usage=usage)

    @staticmethod
    def call(kind: str, unique: str) -> Call:
        match kind:
            case "echo" | "fail":
                return Call(kind, {"text": unique})
            case "helper":
                return Call("helper", {"query": unique})
            case "mute":
                return Call("helper", {})
            case "broken":
                return Call("echo", '{"text": ')
            case "listDirectory":
                return Call(kind, {"path": "."})
            case _:
                return Call(kind, {})

    # --- what holds ---

    @property
    def events(self) -> list[dict]:
        store = FileStore(self.project.state)
        return [json.loads(record.event) for record in store.read("job")] if store.jobs() else []

    @property
    def begun(self) -> bool:
        return any(event["type"] == "startRun" for event in self.events)

    def is_waiting(self) -> bool:
        """Whether the lead's newest run stopped for a question; a process that ended before its run changes nothing."""
        turns = [
            event["type"]
            for event in self.events
            if event.get("expertKey") == "lead" and event["type"].startswith(("startRun", "stopRun", "completeRun"))
        ]
        return bool(turns) and turns[-1] == "stopRunByInteractiveTool"

    def check(self, result: RunResult) -> None:
        events = self.events  # which checks the chain
        if not self.begun:
            return
        self.check_calls(events, complete=result.exit_code == 0)
        self.check_totals(events)
        self.check_conversations()

    def check_calls(self, events: list[dict], *, complete: bool) -> None:
        called = [call["id"] for event in events if event["type"] == "callTools" for call in event["toolCalls"]]
        finished = [event["toolResult"] for event in events if event["type"] == "finishToolExecution"]
        counts = Counter(each["id"] for each in finished)
        assert len(set(called)) == len(called)
        assert set(counts) <= set(called)
        assert set(counts.values()) <= {1}, "no call has two results"
        if complete:
            assert set(counts) == set(called), "and in the end every call has one"
        happened = effects(self.log)
        assert set(happened.values()) <= {1}, "no call took effect twice"
        for each in finished:
            if each["toolName"] == "echo" and not each.get("isError"):
                assert any(text in each["result"][0]["text"].split() for text in happened), "and none is made up"

    def check_totals(self, events: list[dict]) -> None:
        steps = [event["stepNumber"] for event in events if event["type"] == "startGeneration"]
        assert sorted(steps) == list(range(1, len(steps) + 1)), "steps are counted over all runs, without a gap"
        used = [event for event in events if event.get("usage", {}).get("totalTokens")]
        requests = [event["usage"]["inputTokens"] for event in used]
        assert len(set(requests)) == len(requests), "no answer is paid for twice"
        assert set(requests) <= {request.index + 1 for request in self.server.requests}
        if not self.disturbed:
            assert len(requests) == len(self.server.requests) == len(steps)
        job = tally("job", (entry.event for entry in entries(FileStore(self.project.state).read("job"))))
        assert (job.steps, job.usage.total_tokens) == (len(steps), sum(event["usage"]["totalTokens"] for event in used))
        own = sum(event["usage"]["totalTokens"] for event in used if event["expertKey"] == "lead")
        ends = [event for event in events if event.get("expertKey") == "lead" and event.get("checkpoint")]
        if ends and events.index(ends[-1]) > max((events.index(event) for event in used), default=-1):
            assert ends[-1]["checkpoint"]["usage"]["totalTokens"] == own

    def check_conversations(self) -> None:
        conversations = defaultdict(list)
        for request in list(self.server.requests):
            assert answered_in_order(request), "results stand behind their calls, each once, in order"
            conversations[request.system.split("You are the ")[1][:4], said(request)[0]].append(said(request))
        for requests in conversations.values():
            for earlier, later in pairwise(requests):
                assert later[: len(earlier)] == earlier, "what was said once is said again in the same bytes"


def test_W_10_W_12_W_13_W_32_AO6_what_holds_of_every_job_however_often_it_is_killed() -> None:
    run_state_machine_as_test(
        Jobs,
        settings=settings(
            max_examples=300 if SOAK else 6,
            stateful_step_count=12 if SOAK else 4,
            deadline=None,
            derandomize=not SOAK,
            phases=list(Phase) if SOAK else [Phase.generate],  # a shorter example would take minutes to find
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
