"""The local runtime keeps the contract of every runtime."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from perstack.specs import RuntimeContext
from perstack.testing.checks_runtime import CHECKS, CLAIMED, RuntimeKit
from perstack_runtime_local.plugin import perstack_register_runtimes


@pytest.mark.parametrize("check", CHECKS)
async def test_contract(check, tmp_path) -> None:
    (spec,) = perstack_register_runtimes()
    assert CLAIMED.get(check) in {None, *spec.claims}
    state, workspace = tmp_path / "state", tmp_path / "workspace"
    state.mkdir()
    workspace.mkdir()
    runtime = spec.factory(RuntimeContext(run_id="run", job_id="job", state_dir=state, notify=lambda _: None))
    kit = RuntimeKit(
        spec=spec, runtime=runtime, python=(sys.executable,), workspace=workspace, env={"PATH": os.defpath}
    )
    await CHECKS[check](kit)
    assert list(state.iterdir()) == []


def test_the_older_name_of_the_runtime_is_kept() -> None:
    (spec,) = perstack_register_runtimes()
    assert (spec.name, spec.aliases, spec.claims) == ("local", ("perstack",), frozenset({"env"}))


def test_the_page_for_authors_lists_every_check() -> None:
    page = Path(__file__).parents[2] / "docs" / "plugins" / "contract-runtime.md"
    rows = re.findall(
        r"^\| `([a-z0-9:-]+)` \| (.+?)(?: For runtimes that claim .*)? \|$", page.read_text(), re.MULTILINE
    )
    assert rows == [(name, check.__doc__) for name, check in CHECKS.items()]
