"""The security documents say what the requirement asks them to say, and what the code does.

The letters in the names are the requirement's rows: T for trust, R for reporting, Z for the closing words.
"""

from __future__ import annotations

import importlib
import re
from typing import get_args

import pytest
from perstack.skill_policy import Control
from repository import ROOT, distributions

SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
THREATS = (ROOT / "docs/operating/threat-model.md").read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """The text under the heading that starts with these words, folded to single spaces and lower case."""
    parts = re.split(r"^## ", page, flags=re.MULTILINE)
    [found] = [part for part in parts if part.startswith(heading)]
    return re.sub(r"\s+", " ", found.replace("*", "")).lower()


def says(text: str, *phrases: str) -> bool:
    missing = [phrase for phrase in phrases if phrase not in text]
    assert missing == []
    return True


def test_a_phrase_that_is_not_there_is_noticed() -> None:
    with pytest.raises(AssertionError, match="fourth level"):
        says(section(SECURITY, "Three levels"), "experts", "fourth level")


def test_T1_there_are_three_levels_of_trust_in_both_documents() -> None:
    levels = re.findall(r"^## Level (\d): (\w+)", THREATS, re.MULTILINE)
    assert levels == [("1", "Experts"), ("2", "skills"), ("3", "output")]
    assert says(section(SECURITY, "Three levels"), "| experts,", "| skills,", "| output of the model")


def test_T1_every_row_that_the_threat_model_cites_has_a_test() -> None:
    cited = set(re.findall(r"\[([A-Z]+\d+)\]", THREATS))
    assert cited
    names = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    tested = {row for row in cited if re.search(rf"def test_(\w+_)?{row}_", names)}
    assert cited - tested == set()


def test_T2_experts_are_trusted_because_they_are_local_and_under_the_users_control() -> None:
    assert says(section(THREATS, "Level 1"), "local and under your control")


def test_T3_T4_the_documents_say_that_the_file_names_skills_and_variables() -> None:
    assert says(section(THREATS, "Level 1"), "which skills are started", "which variables each of them gets")


def test_T5_the_risk_of_a_malicious_file_is_named() -> None:
    assert says(section(THREATS, "Level 1"), "malicious skill", "ask for a variable")


def test_T6_the_remedy_is_trusted_sources_and_a_review_of_requiredEnv() -> None:
    level = section(THREATS, "Level 1")
    assert says(
        level, "sources that you trust", "review `requiredenv` first", "perstack check --review", "exits with 5"
    )


def test_T12_skills_are_untrusted_and_all_that_they_can_do_is_listed() -> None:
    level = section(THREATS, "Level 2")
    assert says(
        level, "untrusted", "requiredenv", "run any command", "use the network", "read files", "--runtime local"
    )


def test_V8_V9_V10_keys_are_narrow_and_rotated_and_sources_are_trusted() -> None:
    assert says(section(THREATS, "Level 2"), "keys of narrow scope", "rotate the keys", "whose source you trust")


def test_R1_vulnerabilities_are_not_reported_in_public_issues() -> None:
    assert says(section(SECURITY, "Reporting"), "do not open a public issue")


def test_R2_there_is_a_private_address_to_write_to() -> None:
    assert says(section(SECURITY, "Reporting"), "write to the maintainers in private", "pyproject.toml")
    root = (ROOT / "pyproject.toml").read_text()
    [address] = set(re.findall(r'email = "([^"@]+@[^"@]+)"', root))
    for distribution in distributions():
        assert address in str(distribution.project.get("authors", address))


def test_R3_a_report_has_a_description_steps_impact_and_a_fix() -> None:
    assert says(section(SECURITY, "Reporting"), "description", "steps", "impact", "fix")


def test_R4_an_answer_is_promised_within_48_hours() -> None:
    assert says(section(SECURITY, "Reporting"), "within 48 hours")


def test_Z1_the_document_thanks_reporters_and_says_that_security_goes_on() -> None:
    assert says(section(SECURITY, "Thanks"), "thank you", "not finished")


def table_of_claims() -> dict[str, dict[str, bool]]:
    """Control by control, what the threat model says that each runtime claims."""
    rows = [line.strip("|").split("|") for line in THREATS.splitlines() if line.startswith(("| control", "| `"))]
    runtimes = [cell.strip() for cell in rows[0][1:]]
    return {
        row[0].strip(" `"): {
            name: cell.strip().startswith("**yes**") for name, cell in zip(runtimes, row[1:], strict=True)
        }
        for row in rows[1:]
    }


def test_the_table_has_a_line_for_every_control() -> None:
    assert tuple(table_of_claims()) == get_args(Control)


def test_the_table_agrees_with_what_each_runtime_claims_in_code() -> None:
    table = table_of_claims()
    written = {name: {control for control, row in table.items() if row[name]} for name in table["env"]}
    packages = [distribution.package for distribution in distributions() if "runtime" in distribution.name]
    plugins = [importlib.import_module(f"{package}.plugin") for package in packages]
    specs = [spec for plugin in plugins for spec in plugin.perstack_register_runtimes()]
    assert {spec.name: set(spec.claims) for spec in specs} == written
