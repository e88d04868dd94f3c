"""Sandboxes on Docker join none of its networks, so nothing of its networking is started, waited for or stopped."""

from __future__ import annotations

import pytest
from egress_box import command
from engines import box

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("docker")]


def test_a_sandbox_joins_no_network_of_the_engine_not_even_an_empty_one(tmp_path) -> None:
    """Docker 20.10 can stop for good when two containers leave one network at once, and "none" is one."""
    one = box(tmp_path, "docker")
    real = one.engine
    one.write(one.skill(), one.skill("second"))
    with one.running() as process:
        one.container(process)
        one.container(process, "second")
        found = [real.inspect(name)["NetworkSettings"]["Networks"] for name in real.containers(process.pid)]
    assert len(found) >= 2
    assert not any(found)
    control = command("docker", "create", "--network=none", real.base, "true", env=real.env)
    try:
        assert list(real.inspect(control)["NetworkSettings"]["Networks"]) == ["none"], "the control"
    finally:
        command("docker", "rm", control, env=real.env)
