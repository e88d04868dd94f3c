"""Exports of jobs: one document, whole, checked, and safe to open."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from log_command import Log, log_command
from memory import perstack_output_and_peak
from perstack.cli.main import main
from perstack.events import Event
from perstack.journal.files import FileStore
from perstack.messages import ImagePart, TextPart, ToolResult
from perstack.terminal.log_markdown import fenced
from sample_jobs import Script, delegating_job, plain_job, write


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    monkeypatch.setenv("PERSTACK_STATE_DIR", str(tmp_path / "state"))
    return FileStore(tmp_path / "state")


@pytest.fixture
def log(store: FileStore, capsys: pytest.CaptureFixture[str]) -> Log:
    return log_command(capsys)


def with_picture(job_id: str = "job1", *, data: str = "A" * 50_000) -> list:
    """A job with a tool result that is kept as a blob."""
    events = plain_job(job_id)
    for index, event in enumerate(events):
        if isinstance(result := getattr(event, "tool_result", None), ToolResult):
            parts = (TextPart(text="a picture"), ImagePart(encoded_data=data, mime_type="image/png"))
            events[index] = msgspec.structs.replace(event, tool_result=msgspec.structs.replace(result, result=parts))
            break
    return events


def test_an_exported_job_holds_every_event_as_it_was_and_the_checked_head(store, log):
    events = with_picture()
    head = write(store, "job1", events)
    document = json.loads(log("--export", "json"))
    assert document["format"] == "perstack-export-1"
    assert [record["event"] for record in document["records"]] == [
        json.loads(msgspec.json.encode(event)) for event in events
    ], "long strings are back in their places"
    assert document["chain"] == {"verified": True, "records": len(events), "head": head}
    assert document["records"][-1]["link"] == head
    assert [record["seq"] for record in document["records"]] == list(range(1, len(events) + 1))
    assert document["job"]["status"] == "completed"


def test_one_run_is_exported_alone_and_says_of_which_job_it_is(store, log):
    write(store, "job2", delegating_job())
    document = json.loads(log("--export", "json", "--run", "run2"))
    assert {record["event"]["runId"] for record in document["records"]} == {"run2"}
    assert [run["runId"] for run in document["runs"]] == ["run2"]
    assert document["job"]["id"] == "job2"
    shown = log("--export", "markdown", "--run", "run2")
    assert "`run2`" in shown
    assert "`run3`" not in shown
    assert "no run 'run9'" in log("--export", "json", "--job", "job2", "--run", "run9", code=1)


def test_AO5_AO6_of_a_journal_that_was_changed_nothing_is_exported(store, log, capsys):
    write(store, "job1", plain_job())
    path = store.state_dir / "jobs" / "job1" / "journal.jsonl"
    assert log("--export", "json")
    path.write_bytes(path.read_bytes().replace(b"Done: Ada", b"Done: Eve"))
    for form in ("json", "markdown"):
        assert main(["log", "--export", form]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "was changed" in captured.err


def test_markdown_tells_the_job_step_by_step(store, log):
    write(store, "job1", plain_job())
    shown = log("--export", "markdown")
    assert shown.startswith("# Job `job1`\n")
    assert "| Status | completed |" in shown
    assert "| Tokens | 360 |" in shown
    assert "## Step 2: `writer`" in shown
    assert '```text\nI call exec.\nexec(command="false")\n```' in shown
    assert "exec failed, 12 ms: it failed" in shown
    assert "Done: Ada" in shown


def test_AM7_AO2_what_was_written_by_others_stays_text_in_markdown(store, log):
    hostile = "\x1b[2J\u202e ```\n# Heading\n![x](http://a.example/?q=1) <script>`````text"
    script = Script(job_id="job1", expert_key="a`b|c")
    script.begin(hostile)
    script.tool_step("echo", {"text": hostile}, hostile)
    script.complete(hostile)
    write(store, "job1", script.made)
    shown = log("--export", "markdown")
    assert not {"\x1b", "\u202e"} & set(shown)
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", shown, flags=re.MULTILINE | re.DOTALL)
    assert "![x]" in shown, "the control: it is there"
    assert "![x]" not in outside
    assert "<script>" not in outside
    assert "# Heading" not in outside
    assert fenced("````").startswith("`````text\n")
    document = json.loads(log("--export", "json"))
    assert document["records"][0]["event"]["inputMessages"][0]["contents"][0]["text"] == hostile


@pytest.mark.parametrize(
    "option", [("--errors",), ("--json",), ("--take", "3"), ("--follow",), ("--type", "callTools")]
)
def test_an_export_is_whole_and_takes_no_filters(store, log, option):
    write(store, "job1", plain_job())
    assert f"--export and {option[0]} exclude each other" in log("--export", "json", *option, code=1)


def test_tokens_time_and_cost_are_shown_for_jobs_and_runs(store, log):
    write(store, "job2", delegating_job())
    (job,) = json.loads(log("--jobs", "--json"))["jobs"]
    assert job["usage"]["totalTokens"] == 600
    assert "cost" not in job, "journals without prices say nothing of money"
    runs = json.loads(log("--json"))["runs"]
    assert [run["totalTokens"] for run in runs] == [240, 240, 120]
    assert all(run["updatedAt"] >= run["startedAt"] > 0 for run in runs)
    assert log("--jobs").split()[:7] == ["JOB", "STATUS", "EXPERT", "STEPS", "TOKENS", "COST", "STARTED"]
    assert "run2: translator, a delegate, 1 step, 240 tokens, 4.0 s, completed" in log()

    write(store, "job3", [priced(event) for event in delegating_job("job3")])
    assert log("--jobs").splitlines()[1].split()[5] == "$0.0625", "five events of the job tell of tokens"
    assert json.loads(log("--json"))["job"]["cost"] == pytest.approx(0.0625)
    assert "240 tokens, $0.0250, 4.0 s" in log()


def priced(event: Event) -> Event:
    """The event as a version that knows prices writes it."""
    usage = getattr(event, "usage", None)
    if not usage or not usage.total_tokens or event.__struct_config__.tag == "callDelegate":
        return event
    return msgspec.structs.replace(event, usage=msgspec.structs.replace(usage, cost=0.0125))


def test_W_45_a_long_job_is_exported_without_holding_it_in_memory(store):
    write(store, "job1", plain_job(steps=3000))
    for form in ("json", "markdown"):
        output, kilobytes = perstack_output_and_peak("log", "--export", form, state_dir=store.state_dir)
        assert len(output) > 500_000
        assert kilobytes < 80_000
