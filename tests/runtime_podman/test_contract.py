"""The Podman runtime keeps the contract of every runtime, on a real engine."""

from __future__ import annotations

import os

import pytest
from engines import engine
from perstack.specs import RuntimeContext
from perstack.testing.checks_runtime import CHECKS, CLAIMED, RuntimeKit
from perstack_runtime_podman.plugin import perstack_register_runtimes

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("podman")]


@pytest.mark.parametrize("check", CHECKS)
async def test_contract(check, tmp_path, monkeypatch) -> None:
    (spec,) = perstack_register_runtimes()
    assert CLAIMED.get(check) in {None, *spec.claims}
    for name, value in engine("podman").env.items():
        monkeypatch.setenv(name, value)
    state, workspace = tmp_path / "state", tmp_path / "workspace"
    state.mkdir()
    workspace.mkdir()
    os.chown(workspace, 4321, 4321)  # so that it is mounted, and what is written in it is seen at once
    runtime = spec.factory(
        RuntimeContext(run_id=f"contract-{os.getpid()}", job_id="job", state_dir=state, notify=lambda _: None)
    )
    kit = RuntimeKit(spec=spec, runtime=runtime, python=("python3",), workspace=workspace)
    await CHECKS[check](kit)
    assert list(state.rglob("*/*")) == []


def test_the_runtime_claims_every_control_but_the_disks() -> None:
    (spec,) = perstack_register_runtimes()
    assert spec.name == "podman"
    assert "limits.disk" not in spec.claims
    assert len(spec.claims) == 11
