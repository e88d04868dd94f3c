"""The local runtime keeps the contract of every runtime."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from perstack.testing.checks_runtime import CHECKS, CLAIMED
from perstack.testing.contract import proved, verdicts
from perstack.testing.runtime_kit import runtime_kit
from perstack_runtime_local.plugin import perstack_register_runtimes


@pytest.mark.parametrize("check", [check for check in CHECKS if CLAIMED.get(check) in {None, "env"}])
async def test_contract(check) -> None:
    (spec,) = perstack_register_runtimes()
    with runtime_kit(spec) as kit:
        await CHECKS[check](kit)


async def test_a_control_that_is_claimed_and_does_not_hold_is_found_and_not_proved() -> None:
    (spec,) = perstack_register_runtimes()
    liar = dataclasses.replace(spec, claims=frozenset({"env", "filesystem", "rootfs", "limits.pids", "limits.disk"}))
    found = [verdict async for verdict in verdicts(liar)]
    broken = {verdict.id: verdict.problem for verdict in found if verdict.problem}
    assert broken.keys() == {"files:host-is-not-there", "files:root-is-read-only", "limits:pids"}
    assert "it read a file of the host" in broken["files:host-is-not-there"]
    assert "threads" in broken["limits:pids"]
    assert proved(found) == {"env"}


def test_the_older_name_of_the_runtime_is_kept() -> None:
    (spec,) = perstack_register_runtimes()
    assert (spec.name, spec.aliases, spec.claims) == ("local", ("perstack",), frozenset({"env"}))


def test_the_page_for_authors_lists_every_check() -> None:
    page = Path(__file__).parents[2] / "docs" / "plugins" / "contract-runtime.md"
    rows = re.findall(
        r"^\| `([a-z0-9:-]+)` \| (.+?)(?: For runtimes that claim .*)? \|$", page.read_text(), re.MULTILINE
    )
    assert rows == [(name, check.__doc__) for name, check in CHECKS.items()]
