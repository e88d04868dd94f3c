"""What the configuration may allow the base skill beyond its own care, and that this is what is started and shown."""

from __future__ import annotations

import json
import subprocess
import sys

import projects
import pytest
from perstack.config.skills import BASE_SKILL, BoundsTable
from perstack.errors import ConfigError
from perstack.policy.explain import as_text

BASE = """
[experts.writer]
instruction = "Write."
[experts.writer.skills."@perstack/base"]
"""


def argv(tmp_path, text):
    return projects.skill(projects.decision(projects.load(tmp_path, text)), BASE_SKILL).argv


def test_nothing_is_passed_where_the_configuration_says_nothing(tmp_path):
    assert argv(tmp_path, projects.EXPERT)[-2:] == ("-m", "perstack_skill_base")
    assert argv(tmp_path, BASE)[-2:] == ("-m", "perstack_skill_base")


def test_exceptions_and_bounds_are_what_the_server_is_started_with(tmp_path):
    files = 'files = { writable = [".github/**"], readable = [".npmrc"] }'
    text = f"{BASE}{files}\nbounds = {{ execMaxTimeoutMs = 5 }}\n"
    *_, option, policy = argv(tmp_path, text)
    assert option == "--policy"
    assert json.loads(policy) == {
        "writable": [".github/**"],
        "readable": [".npmrc"],
        "bounds": {"execMaxTimeoutMs": 5},
    }


def test_what_is_opened_is_in_the_policy_of_the_bundled_skill_alone_and_is_explained(tmp_path):
    text = f'{BASE}files = {{ writable = [".github/**"], readable = [".npmrc", ".env"] }}\n'
    decision = projects.decision(projects.load(tmp_path, text))
    opened = projects.skill(decision, BASE_SKILL).files
    assert [(grant.access, grant.pattern) for grant in opened] == [
        ("change", ".github/**"),
        ("read", ".npmrc"),
        ("read", ".env"),
    ]
    assert [line.split("  [")[0].split(maxsplit=1)[1] for line in as_text(decision) if " files " in line] == [
        "may change .github/**",
        "may read .npmrc",
        "may read .env",
    ]
    replaced = projects.decision(projects.load(tmp_path, user='perstackBaseSkillCommand = ["own"]\n'))
    assert projects.skill(replaced, BASE_SKILL).files == (), "nothing tells them to what stands in for it"


@pytest.mark.parametrize(
    "line", ["bounds = { execMaxTimeoutMs = 0 }", "bounds = { nope = 1 }", "files = { all = true }"]
)
def test_an_impossible_bound_or_an_unknown_one_is_a_problem(tmp_path, line):
    projects.load(tmp_path, f"{BASE}bounds = {{ readBytes = 1 }}\n")
    with pytest.raises(ConfigError):
        projects.decision(projects.load(tmp_path, f"{BASE}{line}\n"))


def test_only_the_base_skill_obeys_them_so_no_other_may_have_them(tmp_path):
    with pytest.raises(ConfigError, match="which only '@perstack/base' obeys"):
        projects.decision(projects.load(tmp_path, projects.skill_table('files = { writable = ["a"] }')))


def test_the_configuration_and_the_server_know_the_same_bounds():
    code = (
        "from perstack_skill_base.limits import Bounds; from perstack_skill_base.policy import _camel; "
        "print(*map(_camel, Bounds._fields))"
    )
    listed = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert listed.stdout.split() == [field.alias for field in BoundsTable.model_fields.values()]
