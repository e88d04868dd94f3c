"""What is known of a job after it stopped, in whichever way."""

from __future__ import annotations

import json
import re

from perstack.testing.model_server import Call, ModelServer, Refuse, Turn
from perstack.testing.project import PROVIDER, Project

ASK = """
[experts.demo]
instruction = "You are the demo Expert."
[experts.demo.skills.person]
type = "interactiveSkill"
[experts.demo.skills.person.tools.ask]
description = "Ask."
inputJsonSchema = '{"type": "object"}'
"""
STOPS = {
    "completed": Turn(text="done"),
    "stoppedByError": Turn(fault=Refuse(status=400)),
    "stoppedByExceededMaxSteps": Turn(calls=[Call("todo", {})]),
    "stoppedByInteractiveTool": Turn(calls=[Call("ask", {})]),
}


def test_W_02_every_stop_is_listed_with_its_own_status_and_the_newest_job_goes_on(project: Project) -> None:
    project.write(ASK)
    for status, turn in STOPS.items():
        with ModelServer([turn]) as server:
            project.run("demo", "Go.", "--max-steps", "1", "--job-id", f"job-{status}", server=server)
    jobs = json.loads(project.perstack("log", "--jobs", "--json").stdout)["jobs"]
    assert {job["id"]: job["status"] for job in jobs} == {f"job-{status}": status for status in STOPS}
    assert all(job["finishedAt"] >= job["startedAt"] > 0 for job in jobs)
    with ModelServer([Turn(text="went on")]) as server:
        resumed = project.run("demo", "blue", "--continue", "-i", server=server)
    assert (resumed.job_id, resumed.answer) == ("job-stoppedByInteractiveTool", "went on")


def test_W_09_what_is_not_carried_out_is_said_and_not_silently_dropped(project: Project) -> None:
    assert "no effect" not in project.perstack("check").stdout, "the control"
    project.write('[experts.demo]\ninstruction = "x"\nproviderTools = ["webSearch"]\n')
    checked = project.perstack("check")
    assert "webSearch: o" in checked.stdout + checked.stderr


def test_W_34_a_job_that_goes_on_has_the_date_and_the_place_of_today(project: Project) -> None:
    with ModelServer([Turn(text="one"), Turn(text="two")]) as server:
        project.run("demo", "Go.", server=server, env={"TZ": "UTC+14"})
        project.run("demo", "Go on.", "--continue", server=server, env={"TZ": "UTC-14"})
        first, second = (re.findall(r"Date: (\S+)", request.system) for request in server.requests)
    assert len(first) == len(second) == 1
    assert first != second, "28 hours lie between the two zones"


def test_W_01_jobs_are_kept_by_us_and_not_inside_of_a_boundary(project: Project) -> None:
    project.write('[experts.demo]\ninstruction = "x"\n', provider=PROVIDER)
    with ModelServer([Turn(calls=[Call("exec", {"command": "ls", "args": ["-a"]})]), Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 0
    assert list(project.workspace.iterdir()) == []
    assert project.perstack("log", "--job", result.job_id, "--verify").exit_code == 0


def test_W_45_the_log_says_what_a_job_cost(project: Project) -> None:
    project.write(
        '[experts.demo]\ninstruction = "x"\n[models.scripted]\nprices = { input = 1000.0, output = 2000.0 }\n'
    )
    with ModelServer([Turn(calls=[Call("todo", {})]), Turn(text="done")]) as server:
        result = project.run("demo", "Go.", server=server)
    assert result.exit_code == 0, result.stderr
    (job,) = json.loads(project.perstack("log", "--jobs", "--json").stdout)["jobs"]
    asked = 2 * (12 * 1000.0 + 5 * 2000.0) / 1_000_000
    assert job["cost"] == asked
    assert f"${asked:.4f}" in project.perstack("log").stdout
