"""Docker and Podman keep the contract of every runtime, and the page that compares runtimes says what that shows."""

from __future__ import annotations

import re

import pytest
from engines import ROOT
from perstack.plugins.manager import load
from perstack.plugins.selection import PluginSelection
from perstack.skill_policy import CONTROLS
from perstack.testing.checks_runtime import CHECKS, CLAIMED
from perstack.testing.runtime_kit import runtime_kit

pytestmark = pytest.mark.engine

PAGE = ROOT / "docs" / "reference" / "runtime-comparison.md"


def shown(runtime: str) -> set[str]:
    """The controls that the page says this runtime has proved."""
    head, _, *rows = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    column = [word.strip() for word in head].index(runtime)
    return {re.findall(r"`([a-z.-]+)`", row[0])[-1] for row in rows if row[column].strip() == "✓"}


@pytest.mark.parametrize("check", CHECKS)
async def test_C1_C2_C3_C4_C5_C6_C7_C8_the_contract_is_kept_and_the_comparison_says_what_it_proved(
    check, real, monkeypatch
) -> None:
    for name, value in real.env.items():
        monkeypatch.setenv(name, value)
    spec = load(PluginSelection(), names=[f"runtime-{real.name}"]).runtime(real.name)
    assert CLAIMED.get(check) in {None, *spec.claims}
    with runtime_kit(spec) as kit:
        await CHECKS[check](kit)
    assert CLAIMED.get(check) in {None, *shown(real.name)}


def test_no_runtime_is_said_to_have_proved_what_no_check_shows() -> None:
    everything = set(CLAIMED.values())
    assert shown("docker") == shown("podman") == everything == set(CONTROLS) - {"limits.disk"}
    assert shown("local") == {"env"}
