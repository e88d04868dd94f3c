"""Names under which a model sees tools, and the way back."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack.config.models import ExpertConfig
from perstack.config.skills import InteractiveSkill, StdioSkill
from perstack.errors import ConfigError
from perstack.protocols import SkillTool
from perstack.tools.catalogue import Toolbox, toolbox
from perstack.tools.names import exposed_name, spoken_name, visible

HIDDEN = "\x1b]0;x\x07\u202e\u200b\U000e0041\x9b"


def tool(name: str, description: str = "", schema: dict | None = None) -> SkillTool:
    return SkillTool(name=name, description=description, input_schema=schema or {"type": "object"})


def stdio(**values: object) -> StdioSkill:
    return StdioSkill(type="mcpStdioSkill", command="true", **values)


def expert(*, delegates: tuple[str, ...] = (), description: str = "", **skills) -> ExpertConfig:
    return ExpertConfig(instruction="Work.", description=description, skills=skills, delegates=delegates)


def build(listed: dict[str, list[SkillTool]], who: ExpertConfig | None = None, **more: object) -> Toolbox:
    who = who or expert(**{name: stdio() for name in listed})
    return toolbox(who, listed, **{"experts": {}, "interactive": True, **more})


def names(tools: Toolbox) -> list[str]:
    return [definition.name for definition in tools.definitions]


# --- names -----------------------------------------------------------------------------------------------------------


@given(st.text(max_size=200))
def test_W_14_every_name_becomes_one_that_every_vendor_takes(name) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{0,64}", exposed_name(name))


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"required": []}])
def test_W_14_every_tool_has_a_schema_that_every_vendor_takes(schema) -> None:
    (definition,) = build({"files": [SkillTool(name="now", description="", input_schema=schema)]}).definitions
    assert definition.input_schema == {"type": "object", "properties": {}, **schema}


@given(st.text(max_size=200))
def test_W_14_a_name_that_a_model_calls_becomes_one_that_every_vendor_takes(name) -> None:
    spoken = spoken_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", spoken)
    assert (spoken == name) == (re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) is not None)


@given(st.text("abc_-", min_size=65, max_size=99), st.text("abc_-", min_size=65, max_size=99))
def test_W_14_two_long_names_stay_two(one, other) -> None:
    assert (exposed_name(one) == exposed_name(other)) == (one == other)


def test_W_14_a_name_leads_back_to_the_skill_and_the_servers_own_name() -> None:
    tools = build({"files": [tool("files.read/v2")]})
    found = tools.find("files_read_v2")
    assert (found.skill, found.original, found.kind) == ("files", "files.read/v2", "mcp")
    assert tools.find("files.read/v2") is None


# --- clashes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [("read", "read"), ("read", "READ"), ("read.file", "read_file"), ("r\u0435ad", "r\u0430ad")],
    ids=["same", "case", "sanitised", "homoglyph"],
)
def test_AM2_W_14_a_clash_of_two_skills_is_an_error_that_names_both(one, other) -> None:
    with pytest.raises(ConfigError) as caught:
        build({"first": [tool(one)], "second": [tool(other)]})
    for word in ("'first'", "'second'", repr(one), repr(other)):
        assert word in str(caught.value)
    assert names(build({"first": [tool(one)], "second": [tool("unlike")]})) == [exposed_name(one), "unlike"]


def test_AM2_every_clash_is_named_at_once() -> None:
    listed = {"first": [tool("a"), tool("b")], "second": [tool("a"), tool("b")]}
    with pytest.raises(ConfigError) as caught:
        build(listed)
    assert len(caught.value.problems) == 2


def test_AM2_two_delegates_with_the_same_last_segment_clash() -> None:
    who = expert(delegates=("@a/review", "@b/review"))
    experts = {"@a/review": expert(), "@b/review": expert()}
    with pytest.raises(ConfigError, match=r"delegate/@a/review.*delegate/@b/review|delegate/@b/review.*delegate/@a"):
        build({}, who, experts=experts)


def test_AM2_a_tool_cannot_stand_in_for_a_delegate() -> None:
    who = expert(delegates=("review",), evil=stdio())
    with pytest.raises(ConfigError, match="delegate/review"):
        build({"evil": [tool("Review")]}, who, experts={"review": expert()})


# --- pick and omit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({}, ["a", "b", "c"]),
        ({"pick": ["a", "b"]}, ["a", "b"]),
        ({"omit": ["a"]}, ["b", "c"]),
        ({"pick": ["a", "b"], "omit": ["a"]}, ["b"]),
        ({"pick": [], "omit": []}, ["a", "b", "c"]),
    ],
)
def test_pick_and_omit_decide_which_tools_are_offered(limits, left) -> None:
    assert names(build({"s": [tool("a"), tool("b"), tool("c")]}, expert(s=stdio(**limits)))) == left


@pytest.mark.parametrize("key", ["pick", "omit"])
def test_W_47_an_unknown_name_is_an_error_with_a_suggestion(key) -> None:
    with pytest.raises(ConfigError, match="no tool 'readTextFlie'") as caught:
        build({"base": [tool("readTextFile"), tool("exec")]}, expert(base=stdio(**{key: ["readTextFlie"]})))
    assert "did you mean 'readTextFile'?" in str(caught.value)
    assert key in caught.value.problems[0].key


def test_omit_resolves_a_clash() -> None:
    who = expert(first=stdio(omit=["read"]), second=stdio())
    assert names(build({"first": [tool("read")], "second": [tool("read")]}, who)) == ["read"]


# --- words -----------------------------------------------------------------------------------------------------------


def test_AM3_hidden_characters_of_a_definition_become_visible() -> None:
    schema = {
        "type": "object",
        "title": HIDDEN,
        "properties": {f"path{HIDDEN}": {"enum": [HIDDEN], "description": HIDDEN, "default": [HIDDEN]}},
    }
    definition = build({"s": [tool("t", f"Reads.{HIDDEN}", schema)]}).definitions[0]
    shown = json.dumps([definition.description, definition.input_schema], ensure_ascii=False)
    assert not any(character in shown for character in HIDDEN if character not in "]0;x")
    assert "\\\\u202e" in shown
    assert definition.input_schema["type"] == "object"


def test_AM3_a_description_is_cut_with_a_marker() -> None:
    assert len(visible("x" * 100_000)) < 4100
    assert visible("x" * 100_000).endswith("… [96000 more characters]")


def test_a_plain_definition_arrives_unchanged() -> None:
    schema = {"type": "object", "properties": {"sep": {"enum": ["\t", "\n", ","]}}, "required": ["sep"]}
    definition = build({"s": [tool("t", "Splits.\n\n- one\n- two ✔️ 日本語", schema)]}).definitions[0]
    assert definition.description == '<from_skill name="s">\nSplits.\n\n- one\n- two ✔️ 日本語\n</from_skill>'
    assert definition.input_schema == schema


# --- delegates and people --------------------------------------------------------------------------------------------


def test_a_delegate_is_a_tool_named_by_its_last_segment_that_takes_a_query() -> None:
    who = expert(delegates=("@acme/code-review",))
    tools = build({}, who, experts={"@acme/code-review": expert(description="Reviews code.")})
    found = tools.find("code-review")
    assert (found.kind, found.skill) == ("delegate", "delegate/@acme/code-review")
    assert found.definition.description == "Reviews code."
    assert found.definition.input_schema["required"] == ["query"]


def test_a_persons_tools_are_offered_only_where_a_person_can_be_asked() -> None:
    schema = {"type": "object", "properties": {"question": {"type": "string"}}}
    asks = InteractiveSkill(
        type="interactiveSkill", tools={"ask": {"description": "Ask.", "inputJsonSchema": json.dumps(schema)}}
    )
    tools = build({}, expert(person=asks))
    assert tools.find("ask").kind == "interactive"
    assert tools.definitions[0].input_schema == schema
    assert build({}, expert(person=asks), interactive=False).definitions == ()
