"""Results as JSON of a schema: asked for in each vendor's way, checked in ours."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from perstack.engine.results import enforceable, fitting
from perstack.testing.model_server import Call, ModelServer, Turn, When
from perstack.testing.project import Project
from vendors import VENDORS, table

SCHEMA = {
    "type": "object",
    "properties": {"ships": {"type": "integer", "minimum": 1}, "name": {"type": "string"}},
    "required": ["ships", "name"],
}
CLOSED = {
    "type": "object",
    "properties": {"ships": {"type": "integer"}, "name": {"type": "string"}},
    "required": ["ships", "name"],
    "additionalProperties": False,
}
HOLDS = '[models."scripted"]\nstructuredOutput = true\n'
RESULT = """resultSchema = { type = "object", required = ["ships", "name"], \
properties = { ships = { type = "integer", minimum = 1 }, name = { type = "string" } } }
"""
DEMO = f'[experts.demo]\ninstruction = "Count ships."\n{RESULT}'
FITS = '{"ships": 3, "name": "Ägir"}'
SENT = {
    "chat": lambda body: body["response_format"]["json_schema"],
    "responses": lambda body: body["text"]["format"],
    "anthropic": lambda body: body["output_config"]["format"],
    "google": lambda body: {"schema": body["generationConfig"]["responseJsonSchema"]},
    "bedrock": lambda body: {
        "schema": json.loads(body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    },
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_model_that_can_be_is_held_to_the_schema_in_its_vendors_way(project: Project, vendor: str) -> None:
    with ModelServer([Turn(text=FITS)]) as server:
        project.write(HOLDS + DEMO, provider=table(vendor, server))
        result = project.run("demo", "Go.", server=server, env=VENDORS[vendor].variables(server))
        (request,) = server.requests
    assert (result.exit_code, result.answer) == (0, FITS), result.stderr
    assert SENT[vendor](request.body)["schema"] == CLOSED
    assert json.dumps(SCHEMA["properties"])[1:-1] in request.system, "the model reads the whole schema in any case"


def test_a_model_of_which_that_is_not_known_is_told_and_checked(project: Project) -> None:
    with ModelServer([Turn(text=f"```json\n{FITS}\n```")]) as server:
        project.write(DEMO)
        result = project.run("demo", "Go.", server=server)
        (request,) = server.requests
    assert "response_format" not in request.body
    assert (result.exit_code, result.answer) == (0, FITS), "a code fence is no part of the result"


def test_a_result_that_does_not_fit_goes_back_with_the_reason_and_the_job_stays_whole(project: Project) -> None:
    turns = [Turn(text="Three."), Turn(text='{"ships": 0, "name": "x"}'), Turn(text=FITS)]
    with ModelServer(turns) as server:
        project.write(DEMO)
        result = project.run("demo", "Go.", server=server)
        requests = list(server.requests)
    assert (result.exit_code, result.answer) == (0, FITS), result.stderr
    told = [str(request.messages[-1]["content"]) for request in requests[1:]]
    assert "it is not JSON" in told[0]
    assert "ships must be at least 1" in told[1]
    for earlier, later in pairwise(requests):
        assert later.raw.startswith(earlier.raw.removesuffix(b"]}"))
    with ModelServer([Turn(text=FITS)]) as server:
        resumed = project.run("demo", "Again.", "--continue", server=server)
        assert server.requests[0].raw.startswith(requests[-1].raw.removesuffix(b"]}"))
    assert resumed.exit_code == 0


@pytest.mark.parametrize("by", ["words", "call"])
def test_a_model_that_never_fits_ends_the_run_with_the_reason(project: Project, by: str) -> None:
    calls = [Call("attemptCompletion", {"result": "Three."})]
    turn = Turn(text="Three.", times=None) if by == "words" else Turn(calls=calls, times=None)
    with ModelServer([turn]) as server:
        project.write(DEMO)
        result = project.run("demo", "Go.", server=server)
        assert len(server.requests) == 4
    assert result.exit_code == 2
    assert result.values("stopRunByError", "error", "name") == ("ResultMisfit",)
    assert result.of("completeRun") == ()


def test_the_completion_tool_is_refused_until_its_result_fits(project: Project) -> None:
    turns = [Turn(calls=[Call("attemptCompletion", {"result": text})]) for text in ("Three.", FITS)]
    with ModelServer(turns) as server:
        project.write(DEMO)
        result = project.run("demo", "Go.", server=server)
        assert "it is not JSON" in server.requests[1].tool_results[0]
    assert (result.exit_code, result.answer) == (0, FITS)


def test_a_delegate_answers_by_its_schema(project: Project) -> None:
    lead = '[experts.lead]\ninstruction = "I lead."\ndelegates = ["demo"]\n'
    turns = [
        Turn(calls=[Call("demo", {"query": "ships?"})], when=When(system="I lead.")),
        Turn(text="Three.", when=When(system="Count ships.")),
        Turn(text=FITS, when=When(system="Count ships.")),
        Turn(text="done", when=When(system="I lead.")),
    ]
    with ModelServer(turns) as server:
        project.write(lead + DEMO.replace("instruction", 'description = "Counts."\ninstruction'))
        result = project.run("lead", "Go.", server=server)
        assert server.requests[-1].tool_results == (FITS,)
    assert (result.exit_code, result.answer) == (0, "done"), result.stderr


def test_a_schema_of_anything_but_an_object_is_refused(project: Project) -> None:
    project.write('[experts.demo]\ninstruction = "x"\nresultSchema = { type = "string" }\n')
    refused = project.perstack("check")
    assert refused.exit_code == 1
    assert 'begin with type = "object"' in refused.stdout + refused.stderr


def test_what_cannot_be_enforced_everywhere_is_left_to_the_check() -> None:
    nested = {"type": "array", "maxItems": 2, "items": SCHEMA}
    schema = {"type": "object", "title": "T", "properties": {"fleets": nested, "kind": {"enum": ["a"]}}}
    assert enforceable(schema) == {
        "type": "object",
        "properties": {"fleets": {"type": "array", "items": CLOSED}, "kind": {"enum": ["a"]}},
        "additionalProperties": False,
    }
    assert enforceable({"type": "object"}) is None
    assert enforceable({**SCHEMA, "additionalProperties": True}) is None
    assert fitting('{"fleets": [1, 2, 3]}', schema)[1].startswith("fleets must have at most 2 items")
    assert fitting("[1]", schema)[1] == "it is not a JSON object"
