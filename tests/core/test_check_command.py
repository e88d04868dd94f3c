"""`perstack check` and `perstack explain`, as a user runs them."""

from __future__ import annotations

import json
import uuid

import jsonschema
import pytest
import tomli
from command_line import perstack
from fake_plugins import install
from perstack.errors import ExitCode
from projects import EXPERT, skill_table, write

RUNTIME = """
@hookimpl
def perstack_register_runtimes():
    return [RuntimeSpec(name="acme", summary="s", factory=dict, claims=frozenset({"env", "network"}))]
"""

PLUGIN = """
@hookimpl
def perstack_register_settings():
    def parse(table):
        if table.get("level") != 1:
            raise ValueError("level has to be 1")
    return [SettingsSpec(name="guard", summary="s", parse=parse)]

@hookimpl
def perstack_check_config(config):
    from perstack.errors import Problem
    if config.get("maxSteps", 0) > 5:
        yield Problem(key="maxSteps", message="more than five steps", hint="Lower it.")
"""


def test_Q1_a_sound_project_passes_and_is_counted(tmp_path) -> None:
    path = write(tmp_path, skill_table(""))
    done = perstack("check", home=tmp_path)
    assert (done.returncode, done.stderr) == (ExitCode.COMPLETED, "")
    assert f"{path}: Experts: 1, skills: 1, problems: none" in done.stdout
    answer = json.loads(perstack("check", "--json", home=tmp_path).stdout)
    assert (answer["ok"], answer["experts"], answer["skills"]) == (True, 1, 1)


def test_W_47_all_problems_of_all_experts_are_shown_and_the_exit_code_is_1(tmp_path) -> None:
    text = skill_table('requiredEnv = ["OPENAI_API_KEY"]') + skill_table("typo = 1", expert="other")
    write(tmp_path, text + '[experts.third]\ninstruction = "x"\ndelegates = ["gone"]\n')
    done = perstack("check", home=tmp_path)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    for part in (":6: skill 'tool' of 'writer': OPENAI_API_KEY", ":12: experts.other.skills.tool.typo", "'gone'"):
        assert part in done.stderr
    answer = perstack("check", "--json", home=tmp_path)
    assert answer.returncode == ExitCode.USAGE
    assert sorted(problem["line"] for problem in json.loads(answer.stdout)["problems"]) == [6, 12, 15]


def test_plugins_take_part_in_the_check(tmp_path, monkeypatch) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    install(site, "guard", PLUGIN)
    environment = {"PYTHONPATH": str(site)}
    write(tmp_path, "maxSteps = 9\n" + EXPERT + "[plugins.guard]\nlevel = 2\n")
    done = perstack("check", home=tmp_path, **environment)
    assert done.returncode == ExitCode.USAGE
    assert ":5: plugins.guard: level has to be 1" in done.stderr
    write(tmp_path, "maxSteps = 9\n" + EXPERT + "[plugins.guard]\nlevel = 1\n")
    done = perstack("check", home=tmp_path, **environment)
    assert ":1: maxSteps: more than five steps (Lower it.)" in done.stderr
    write(tmp_path, "maxSteps = 5\n" + EXPERT + "[plugins.guard]\nlevel = 1\n[plugins.nobody]\n")
    assert "plugins.nobody" in perstack("check", home=tmp_path, **environment).stderr
    write(tmp_path, "maxSteps = 5\n" + EXPERT + "[plugins.guard]\nlevel = 1\n")
    assert perstack("check", home=tmp_path, **environment).returncode == ExitCode.COMPLETED
    assert perstack("check", "-p", "no:guard", home=tmp_path, **environment).returncode == ExitCode.COMPLETED


def test_the_policy_of_a_project_is_checked_against_the_runtime(tmp_path) -> None:
    write(tmp_path, EXPERT + '[policy]\nrequire = ["network"]\n')
    done = perstack("check", "--runtime", "local", home=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert ":5: policy.require: the runtime 'local' does not enforce network" in done.stderr
    assert perstack("check", home=tmp_path).returncode == ExitCode.COMPLETED
    explained = perstack("explain", "writer", "--runtime", "local", home=tmp_path)
    assert explained.returncode == ExitCode.REFUSED
    assert "does not enforce network" in explained.stderr


def test_keys_without_an_effect_are_named_and_are_no_problem(tmp_path) -> None:
    write(tmp_path, 'perstackApiBaseUrl = "https://api.example"\n' + EXPERT + 'providerTools = ["webSearch"]\n')
    write(tmp_path, "PATH=/evil\n", name=".env")
    done = perstack("check", home=tmp_path)
    assert done.returncode == ExitCode.COMPLETED
    for part in ("perstackApiBaseUrl: has no effect", "webSearch: off", ".env:1: PATH is not taken"):
        assert part in done.stdout


def test_Q1_T6_a_review_ends_with_5_until_the_user_has_accepted_its_findings(tmp_path) -> None:
    project = tmp_path / "project"
    write(project, skill_table('packageName = "server"').replace('"server"\np', '"uvx"\np'))
    done = perstack("check", "--review", home=tmp_path, cwd=project)
    assert done.returncode == ExitCode.REFUSED
    (finding,) = [line for line in done.stdout.splitlines() if line.startswith("!")]
    assert "PKG001 writer/tool server has no exact version" in finding
    accepted = finding.rpartition("accept: ")[2]
    assert perstack("check", "--review", "writer", "--accept", accepted, home=tmp_path, cwd=project).returncode == 0
    table = done.stdout[done.stdout.index("  [projects.") :]
    write(tmp_path, table, name=".config/perstack/config.toml")
    assert tomli.loads(table)["projects"][str(project)]["policy"]["accept"] == [accepted]
    again = perstack("check", "--review", home=tmp_path, cwd=project)
    assert (again.returncode, "Nothing is left to accept." in again.stdout) == (ExitCode.COMPLETED, True)
    answer = json.loads(perstack("check", "--review", "--json", home=tmp_path, cwd=project).stdout)
    assert [found["id"] for found in answer["findings"] if found["code"] == "PKG001"] == [accepted]


def test_AC9_a_project_cannot_accept_its_own_findings(tmp_path) -> None:
    write(tmp_path, EXPERT + '[policy]\naccept = ["PKG001:0"]\n')
    done = perstack("check", "--review", home=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "only the person who runs it can accept a finding" in done.stderr


def test_the_schema_accepts_what_the_check_accepts_and_refuses_what_it_refuses(tmp_path) -> None:
    schema = json.loads(perstack("check", "--schema", home=tmp_path).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    sound = skill_table('requiredEnv = ["A", { name = "B", from = "C" }]\nlazyInit = true') + "[plugins.acme]\nx = 1\n"
    assert validator.is_valid(tomli.loads(sound))
    for wrong in (sound.replace("lazyInit", "lazy"), sound.replace("mcpStdioSkill", "x"), sound.replace("true", "1")):
        assert not validator.is_valid(tomli.loads(wrong))


def test_V10_Q2_explain_shows_every_skill_with_origins_and_no_value(tmp_path) -> None:
    secret = uuid.uuid4().hex
    body = (
        'requiredEnv = [{ name = "KEY", from = "MY_KEY", description = "Searches." }]\nallowedDomains = ["h.example"]'
    )
    path = write(
        tmp_path,
        skill_table(body).replace('"Write."', '"Write."\ndelegates = ["other"]') + skill_table("", expert="other"),
    )
    done = perstack("explain", "writer", "--runtime", "local", home=tmp_path, MY_KEY=secret)
    assert done.returncode == ExitCode.COMPLETED
    for part in (
        "Not enforced by it: network, filesystem",
        f"KEY from MY_KEY: Searches.  [{path}:7]",
        f"h.example  [{path}:8]",
        "-m perstack_skill_base",
        "other (delegates: none)",
        "2048 MiB (256 MiB reserved), 2 CPUs, 256 processes  [built-in]",
    ):
        assert part in done.stdout
    assert secret not in done.stdout + done.stderr
    answer = json.loads(perstack("explain", "writer", "--json", home=tmp_path, MY_KEY=secret).stdout)
    assert [expert["key"] for expert in answer["experts"]] == ["writer", "other"]
    tool = answer["experts"][0]["skills"][1]
    assert [entry for entry in tool["env"] if entry["name"] == "KEY"] == [
        {"name": "KEY", "from": "MY_KEY", "secret": True, "description": "Searches.", "origin": f"{path}:7"}
    ]
    assert secret not in json.dumps(answer)


def test_explain_decides_for_the_runtime_that_is_asked_for(tmp_path) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    install(site, "acme", RUNTIME)
    write(tmp_path, EXPERT)
    done = perstack("explain", "writer", "--runtime", "acme", home=tmp_path, PYTHONPATH=str(site))
    assert done.returncode == ExitCode.REFUSED
    assert "'acme' does not enforce capabilities" in done.stderr
    missing = perstack("explain", "writer", "--runtime", "gone", home=tmp_path)
    assert (missing.returncode, "gone" in missing.stderr) == (ExitCode.USAGE, True)


@pytest.mark.parametrize("command", [["check"], ["explain", "writer"]])
def test_hostile_text_reaches_the_terminal_as_visible_text(tmp_path, command) -> None:
    write(tmp_path, EXPERT + '"\\u001b[2Jkey\\u202e" = 1\n')
    done = perstack(*command, home=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "is not a key of this table" in done.stderr
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr
