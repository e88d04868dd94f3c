"""What the page about perstack.toml says is what the code does."""

from __future__ import annotations

import re

import pytest
import tomli
from perstack.config import models, skills
from perstack.config.environment import VARIABLES
from perstack.config.layers import OPERATOR_KEYS
from perstack.policy.review import CODES
from perstack.skill_policy import CONTROLS
from projects import load
from repository import ROOT

PAGE = (ROOT / "docs" / "user" / "perstack-toml.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
USER = next(text for text in EXAMPLES if "allowProviderKeys" in text)
PROJECT = "\n".join(text for text in EXAMPLES if text != USER)


def test_the_examples_are_sound(tmp_path) -> None:
    writer = '[experts.writer]\ninstruction = "Write."\n'
    loaded = load(tmp_path, PROJECT + writer, user=USER, environ={"HOME": str(tmp_path)})
    assert not loaded.broken
    assert set(loaded.project.experts) == {"@acme/researcher", "counter", "writer"}


def test_the_example_of_ones_own_settings_has_every_key_that_only_a_user_may_set() -> None:
    values = tomli.loads(USER)
    for first, *rest in OPERATOR_KEYS:
        assert first in values
        accepted = values["projects"]["~/src/site"]["policy"] | values["policy"] if first == "policy" else values[first]
        assert not rest or rest[0] in accepted


def test_every_code_of_a_review_is_listed_with_whether_it_has_to_be_accepted() -> None:
    rows = dict(re.findall(r"^\| `([A-Z]{3}\d{3})` \| (.*) \|$", PAGE, re.MULTILINE))
    assert list(rows) == list(CODES)
    assert {code: row.endswith("(listed)") for code, row in rows.items()} == {
        code: not known.accept for code, known in CODES.items()
    }


@pytest.mark.parametrize(
    "table", [models.Project, models.ExpertConfig, skills.StdioSkill, skills.SseSkill, skills.InteractiveSkill]
)
def test_every_key_is_named(table) -> None:
    missing = [name for name in table.model_json_schema()["properties"] if f"`{name}`" not in PAGE]
    assert missing == []


def test_every_variable_and_every_control_is_named() -> None:
    assert [name for name in (*VARIABLES, *CONTROLS) if f"`{name}`" not in PAGE] == []
