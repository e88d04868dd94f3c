"""No string of a configuration carries a character that would mean something to whatever it is passed on to."""

from __future__ import annotations

import json

import pytest
from perstack.config import models, skills
from projects import WHOLE
from pydantic import ValidationError

# What could end a line, open a comment, a quote or an expansion, or hide what a person would have seen.
BREAKS = ("\n", "\r", "\u2028", "\u2029", "\x85", "\x0b")
INVISIBLE = ("\0", "\x1b[2J", "\x7f", "\x9b", "\u200b", "\u202e", "\u2066", "\ufeff", "\U000e0041", "\ud800")
META = ('"', "'", "${HOME}", "$(id)", "`id`", "#", ": ", "|", ",", "=", "../..", " ")

PROSE = {"description", "instruction", "rule", "args", "reason"}
"""Texts that go to the model, and arguments that go to a process as they are: lines may end in them."""
FREE = {*PROSE, "model", "envPath", "perstackBaseSkillCommand", "packageName", "command", "providerName", "runtime"}
FREE |= {"skill", "tool", "pick", "omit", "allow", "block", "accept", "headers", "plugins.require"}
"""Texts that are passed on whole, never as part of another text, so that no visible character is special in them."""


URLS = {"baseUrl", "perstackApiBaseUrl", "endpoint"}
URL_CHARACTERS = {"'", "$(id)", "#", ",", "=", "../.."}


def strings(value, path=()):
    """The path of every string, list items included."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from strings(inner, (*path, key))


def changed(path, suffix: str) -> dict[str, object]:
    """The whole configuration with one string longer by `suffix`."""
    copy = json.loads(json.dumps(WHOLE))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] += suffix
    return copy


def field(path) -> str:
    names = [key for key in path if isinstance(key, str)]
    if names[:2] == ["plugins", "require"]:
        return "plugins.require"
    return "headers" if "headers" in names else names[-1]


def refuses(value: object) -> bool:
    try:
        models.Project.model_validate(value)
    except ValidationError:
        return True
    return False


PATHS = [path for path in strings(WHOLE) if path[-1] not in {"type", "decision"}]


def test_the_configuration_that_is_varied_is_sound_and_has_every_string_field() -> None:
    models.Project.model_validate(WHOLE)
    known = {name for path in PATHS for name in path if isinstance(name, str)}
    tables = (models.Project, models.ExpertConfig, skills.StdioSkill, skills.SseSkill, skills.RequiredEnv)
    fields = {info.alias or name for table in tables for name, info in table.model_fields.items()}
    numbers = {"reasoningBudget", "maxSteps", "maxTokens", "maxCost", "maxDuration", "maxRetries", "timeout"}
    others = {
        "models",
        "allowProviderTools",
        "lazyInit",
        "allowPunycode",
        "allowSampling",
        "allowElicitation",
        "type",
        "files",
        "bounds",
    }
    unread = {"minRuntimeVersion", "providerTools", "providerSkills", "providerToolOptions", "resultSchema"}
    assert fields - known - numbers - others - unread == set()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_AC1_what_ends_a_line_or_cannot_be_seen_is_refused_in_every_string(path) -> None:
    assert not refuses(changed(path, "")), "the control"
    taken = [suffix for suffix in (*BREAKS, *INVISIBLE) if not refuses(changed(path, f"{suffix}x"))]
    allowed = {"\n"} if field(path) in PROSE else set()
    if field(path) == "inputJsonSchema":
        return  # JSON decides; its text is parsed and never passed on
    assert set(taken) <= allowed, taken


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_AC1_AC5_AC7_what_is_special_elsewhere_is_refused_where_a_text_has_a_grammar(path) -> None:
    if field(path) in FREE:
        return
    taken = [suffix for suffix in META if not refuses(changed(path, f"{suffix}x"))]
    harmless = URL_CHARACTERS if field(path) in URLS else {"../.."} if field(path) == "image" else set()
    assert set(taken) <= harmless, taken


@pytest.mark.parametrize("name", ["-x", "--volume", " x", "x ", "", "x" * 256, "a\nb"])
def test_AC5_the_name_of_a_skill_is_no_option(name) -> None:
    skills = {name: {"type": "mcpStdioSkill", "command": "c"}}
    assert refuses({"experts": {"e": {"instruction": "i", "skills": skills}}})
    assert not refuses({"experts": {"e": {"instruction": "i", "skills": {"検索 tool@1": skills[name]}}}})


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://h.example/",
        "https://localhost/",
        "https://x.localhost/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://169.254.169.254/latest",
        "https://100.100.100.200/",
        "https://0.0.0.0/",
        "https://user:pass@h.example/",
        "https:///x",
        "https://h.example:99999/",
        "https://h example/",
        "ftp://h.example/",
    ],
)
def test_W_21_a_remote_skill_has_a_public_https_endpoint(endpoint) -> None:
    def with_endpoint(url: str) -> dict[str, object]:
        skills = {"s": {"type": "mcpSseSkill", "endpoint": url}}
        return {"experts": {"e": {"instruction": "i", "skills": skills}}}

    assert refuses(with_endpoint(endpoint))
    assert not refuses(with_endpoint("https://93.184.216.34/sse"))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:11434/v1", "http://localhost:1/", "http://[::1]:1/", "https://x.example"]
)
def test_a_model_server_speaks_https_or_is_this_machine(url) -> None:
    def provider(base_url: str) -> dict[str, object]:
        return {"provider": {"providerName": "p", "setting": {"baseUrl": base_url}}}

    assert not refuses(provider(url))
    assert refuses(provider("http://10.0.0.1/v1"))
    assert refuses(provider("http://localhost.evil.example/"))


@pytest.mark.parametrize(
    "value",
    [
        {"maxSteps": True},
        {"maxSteps": 1.0},
        {"maxSteps": "1"},
        {"timeout": 0},
        {"experts": []},
        {"experts": {"e": {"instruction": ""}}},
        {"experts": {"e": {"instruction": "x" * 20481}}},
        {"experts": {"e": {"instruction": "i", "key": "other"}}},
        {"plugins": {"acme": "text"}},
        {"policy": {"require": ["everything"]}},
    ],
)
def test_W_47_types_are_what_they_are_called(value) -> None:
    assert refuses(value)
