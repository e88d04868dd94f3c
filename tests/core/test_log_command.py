"""``perstack log`` as its user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from log_command import Log, log_command
from memory import perstack_output_and_peak
from perstack.journal.files import FileStore
from sample_jobs import delegating_job, plain_job, write


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSTACK_STATE_DIR", str(tmp_path / "state"))
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield FileStore(tmp_path / "state")
    time.tzset()


@pytest.fixture
def log(store: FileStore, capsys: pytest.CaptureFixture[str]) -> Log:
    return log_command(capsys)


def types(document: str) -> list[str]:
    return [event["type"] for event in json.loads(document)["events"]]


def test_T16_after_a_run_every_call_is_listed_with_its_arguments_and_its_result(store, log):
    write(store, "job1", plain_job())
    shown = log()
    assert "Job job1 (newest job): completed" in shown
    assert "Expert writer, model scripted" in shown
    assert '    readTextFile(path="name0.txt")\n' in shown
    assert "    readTextFile ok, 12 ms: error: is a word in file 0\n" in shown
    assert '    exec(command="false")\n' in shown
    assert "    exec failed, 12 ms: it failed\n" in shown
    assert "    Done: Ada\n" in shown


def test_W_45_times_are_local_and_skills_are_part_of_the_history(store, log):
    write(store, "job1", plain_job())
    shown = log()
    assert "started 2025-11-22 21:00:01 JST" in shown
    assert "[Runtime] skillConnected  21:00:02\n    @perstack/base connected: 2 tools" in shown
    assert "[Step 1] callTools  21:00:05 writer" in shown


def test_W_45_the_newest_matches_are_shown_and_what_is_left_out_is_counted(store, log):
    write(store, "job1", plain_job(steps=60))
    everything = json.loads(log("--json", "--take", "0"))
    assert everything["totalEventsBeforeLimit"] == len(everything["events"]) == 245
    default = json.loads(log("--json"))
    assert default["events"] == everything["events"][-100:]
    assert json.loads(log("--json", "--take", "2", "--offset", "3"))["events"] == everything["events"][-5:-3]
    assert "(145 older matches are not shown" in log()


def test_W_13_a_continued_run_and_its_events_belong_to_the_job(store, log):
    write(store, "job2", delegating_job())
    document = json.loads(log("--json", "--take", "0"))
    assert [(run["runId"], run["status"]) for run in document["runs"]] == [
        ("run1", "completed"),
        ("run2", "completed"),
        ("run3", "completed"),
    ]
    assert types(log("--json", "--run", "run3")) == ["startRun", "startGeneration", "completeRun"]
    assert document["job"]["coordinatorExpertKey"] == "writer"


def test_W_45_a_delegation_names_the_expert_that_was_called(store, log):
    write(store, "job2", delegating_job())
    assert types(log("--json", "--delegations")) == ["callDelegate", "stopRunByDelegate", "startRun"]
    shown = log("--delegations")
    assert "delegates to translator: Translate Ada" in shown
    assert "translator, called by writer: Translate Ada" in shown
    assert "unknown" not in shown


def test_W_45_errors_are_what_failed_and_not_what_begins_with_the_word(store, log):
    write(store, "job1", plain_job())
    (failed,) = json.loads(log("--json", "--errors"))["events"]
    assert failed["toolResult"]["result"][0]["text"] == "it failed"
    write(store, "job2", delegating_job())
    assert types(log("--json", "--errors", "--job", "job2")) == ["retry", "reviewToolCall"]


def test_every_filter_narrows_and_all_of_them_hold_together(store, log):
    write(store, "job1", plain_job())

    def found(*args: str) -> list[str]:
        return types(log("--json", "--take", "0", *args))

    assert found("--step", "2") == ["startGeneration", "callTools", "finishToolExecution", "continueToNextStep"]
    assert found("--step", "1-2", "--type", "callTools") == ["callTools"] * 2
    assert found("--type", "callTools", "--type", "completeRun") == ["callTools"] * 2 + ["completeRun"]
    assert found("--tool", "exec") == ["callTools", "finishToolExecution"]
    assert found("--tools", "--errors") == ["finishToolExecution"]
    assert found("--skill", "@perstack/base", "--step", ">1") == ["callTools", "finishToolExecution"]
    assert found("--skill", "@perstack/base")[0] == "skillConnected"
    assert found("--filter", ".toolCalls[].args.command == false-name") == []
    assert found("--filter", '.toolCalls[].args.command == "false"') == ["callTools"]
    assert found("--filter", ".toolResult.isError == true", "--filter", ".stepNumber >= 2") == ["finishToolExecution"]
    assert found("--since", "2025-11-22T21:00:12") == ["startGeneration", "completeRun"]
    assert found("--since", "1s") == []


def test_context_shows_the_neighbours_of_each_match(store, log):
    write(store, "job1", plain_job())
    assert types(log("--json", "--errors", "--context", "1")) == [
        "callTools",
        "finishToolExecution",
        "continueToNextStep",
    ]


def test_a_summary_counts_all_matches_whatever_is_shown(store, log):
    write(store, "job1", plain_job())
    assert "13 events, 1 error, 2 tool calls, 0 delegations, steps 1 to 3" in log("--summary", "--take", "1")
    assert json.loads(log("--json", "--take", "1"))["summary"] == {
        "totalEvents": 13,
        "errorCount": 1,
        "toolCallCount": 2,
        "delegationCount": 0,
        "stepRange": {"min": 1, "max": 3},
    }


def test_jobs_are_listed_newest_first_and_a_damaged_one_does_not_hide_the_rest(store, log):
    write(store, "job1", plain_job())
    write(store, "job2", delegating_job())
    write(store, "broken", plain_job("broken"))
    for index, job in enumerate(("job1", "job2", "broken")):
        path = store.state_dir / "jobs" / job / "journal.jsonl"
        if job == "broken":
            path.write_bytes(path.read_bytes().replace(b"readTextFile", b"readTextFilf"))
        os.utime(path, (index, index))
    lines = log("--jobs").splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["JOB", "STATUS"],
        ["broken", "damaged"],
        ["job2", "completed"],
        ["job1", "completed"],
    ]
    assert lines[3].split()[2:5] == ["writer", "3", "360"]
    jobs = json.loads(log("--jobs", "--json", "--take", "1", "--offset", "1"))["jobs"]
    assert [(job["id"], job["totalSteps"], job["usage"]["totalTokens"]) for job in jobs] == [("job2", 4, 600)]


def test_a_job_that_is_written_now_runs_and_one_without_an_end_was_interrupted(store, log):
    journal = store.create("job1")
    for event in plain_job()[:-1]:
        journal.append(msgspec.json.encode(event))
    assert json.loads(log("--json"))["job"]["status"] == "running"
    journal.close()
    assert json.loads(log("--json"))["job"]["status"] == "interrupted"


def test_nothing_found_is_an_answer_and_a_word_that_is_no_id_is_a_mistake(store, log):
    assert log() == "No data found\n"
    assert log("--jobs") == "No data found\n"
    assert json.loads(log("--json")) == {"job": None, "events": []}
    write(store, "job1", plain_job())
    assert log("--job", "other") == "No data found\n"
    assert log("--run", "other") == "No data found\n"
    assert log("--checkpoint", "other") == "No data found\n"
    assert "No data found" in log("--tool", "unheard-of")


@pytest.mark.parametrize("option", ["--job", "--run", "--checkpoint"])
def test_AO8_W_25_ids_are_checked_before_they_touch_a_path(store, log, option, tmp_path):
    write(store, "job1", plain_job())
    (tmp_path / "state" / "journal.jsonl").write_bytes(b"")
    assert "is not a" in log(option, "../../state", code=1)
    assert "completed" in log("--job", "job1")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--step", "5-1"), "empty"),
        (("--step", "x"), "does not name steps"),
        (("--take", "-1"), "not a whole number"),
        (("--filter", "type == x"), "no condition"),
        (("--since", "soon"), "is no time"),
        (("--type", "callTool"), "Did you mean 'callTools'?"),
        (("--type", "resolveToolResults"), "are not kept"),
        (("--type", "streamRunResult"), "are not kept"),
        (("--messages",), "--checkpoint"),
        (("--head", "0" * 64), "--verify"),
        (("--follow", "--summary"), "exclude each other"),
        (("--pretty",), "Add --json"),
        *(
            (("--jobs", option), f"--jobs and {option} exclude each other")
            for option in ("--tools", "--errors", "--verify")
        ),
        (("--jobs", "--job", "x"), "--jobs and --job exclude each other"),
    ],
)
def test_a_mistake_on_the_command_line_says_what_to_write_instead(store, log, args, message):
    write(store, "job1", plain_job())
    assert message in log(*args, code=1)


def test_a_checkpoint_is_shown_with_the_events_and_the_messages_before_it(store, log):
    write(store, "job1", plain_job())
    document = json.loads(log("--json", "--checkpoint", "run1-c1", "--messages"))
    assert document["checkpoint"]["stepNumber"] == 1
    assert [message["type"] for message in document["messages"]] == ["userMessage", "expertMessage", "toolMessage"]
    shown = log("--checkpoint", "run1-c1", "--messages")
    assert "Checkpoint run1-c1: proceeding, step 1" in shown
    assert "  user: Copy the name\n  expert: I call readTextFile.\n  tool: " in shown


def test_AO5_AO6_verifying_finds_the_head_and_refuses_a_changed_journal(store, log):
    head = write(store, "job1", plain_job())
    shown = log("--verify", "--head", head)
    assert "all 13 records hold" in shown
    assert shown.rstrip().endswith(head)
    assert json.loads(log("--verify", "--json")) == {"jobId": "job1", "records": 13, "head": head, "headAt": None}
    path = store.state_dir / "jobs" / "job1" / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert "removed from its end" in log("--verify", "--head", head, code=1)
    path.write_bytes(whole.replace(b"Copy the name", b"Copy the nome"))
    assert "was changed: record 3" in log("--verify", code=1)
    assert "was changed: record 3" in log(code=1)


def test_AO2_Q16_nothing_in_a_journal_commands_the_terminal(store, log):
    hostile = "\x1b]0;owned\x07\u202e\x9b2J"
    events = [msgspec.json.encode(event).replace(b"it failed", hostile_json(hostile)) for event in plain_job()]
    journal = store.create("job1")
    for event in events:
        journal.append(event)
    journal.close()
    for args in ((), ("--verbose",), ("--json",), ("--json", "--pretty"), ("--jobs",), ("--follow", "--json")):
        shown = log(*args)
        assert not set(hostile) & {"\x1b", "\x07", "\u202e", "\x9b"} & set(shown)
    assert json.loads(log("--json", "--errors"))["events"][0]["toolResult"]["result"][0]["text"] == hostile


def hostile_json(text: str) -> bytes:
    return msgspec.json.encode(text)[1:-1]


def test_pretty_json_is_the_same_document(store, log):
    write(store, "job1", plain_job())
    assert json.loads(log("--json", "--pretty")) == json.loads(log("--json"))
    assert '\n  "events": [\n    {\n' in log("--json", "--pretty")


def test_following_a_job_that_has_ended_shows_it_and_ends(store, log):
    write(store, "job1", plain_job())
    lines = [json.loads(line) for line in log("--follow", "--json", "--take", "3").splitlines()]
    assert [line["type"] for line in lines] == ["continueToNextStep", "startGeneration", "completeRun"]


def test_following_shows_events_as_they_are_written_and_ends_with_the_job(store):
    events = [msgspec.json.encode(event) for event in plain_job()]
    journal = store.create("job1")
    journal.append(events[0])
    follower = subprocess.Popen(
        [sys.executable, "-m", "perstack", "log", "--follow", "--json"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PERSTACK_STATE_DIR": str(store.state_dir)},
    )
    try:
        assert follower.stdout is not None
        for number, event in enumerate(events):
            if number:
                journal.append(event)
            assert json.loads(follower.stdout.readline()) == json.loads(event)
        assert follower.poll() is None
        journal.close()
        assert follower.communicate(timeout=30)[0] == b""
        assert follower.returncode == 0
    finally:
        follower.kill()
        follower.communicate()


def test_W_45_a_long_log_is_shown_without_holding_it_in_memory(store):
    write(store, "job1", plain_job(steps=3000))
    output, kilobytes = perstack_output_and_peak("log", "--json", "--take", "0", state_dir=store.state_dir)
    assert len(json.loads(output)["events"]) == 12_005
    assert kilobytes < 80_000
