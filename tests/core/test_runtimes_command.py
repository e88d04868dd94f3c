"""``perstack runtimes`` shows every runtime that is installed, and what of its claims holds on this machine."""

from __future__ import annotations

import json

import fake_plugins
from command_line import perstack
from perstack.skill_policy import CONTROLS

FAILS = """
class Broken:
    async def preflight(self):
        raise OSError("the engine is \\x1b[31mon fire")

@hookimpl
def perstack_register_runtimes():
    return [RuntimeSpec(name="broken", summary="Fails", factory=lambda _: Broken(), claims=frozenset({"env", "user"}))]
"""
HALF = """
from contextlib import asynccontextmanager
from perstack_runtime_local.runtime import LocalRuntime

class Half(LocalRuntime):
    @asynccontextmanager
    async def open(self, request):
        async with super().open(request) as sandbox:
            sandbox.enforced = frozenset({"env"})
            yield sandbox

@hookimpl
def perstack_register_runtimes():
    return [RuntimeSpec(name="half", summary="Half", factory=Half, claims=frozenset({"env", "limits.swap"}))]
"""


def test_C1_each_control_of_each_runtime_is_enforced_claimed_in_vain_unknown_or_not_claimed(tmp_path) -> None:
    site = tmp_path / "plugins"
    site.mkdir()
    for name, source in (("broken", FAILS), ("half", HALF)):
        fake_plugins.install(site, name, source)
    names = ("local", "half", "broken")

    done = perstack("runtimes", *names, "--json", home=tmp_path, PYTHONPATH=str(site))

    assert done.returncode == 0, done.stderr
    rows = {row["runtime"]: row for row in json.loads(done.stdout)}
    assert list(rows) == list(names)
    assert all(list(row["controls"]) == list(CONTROLS) for row in rows.values())
    assert rows["local"]["controls"]["env"] == "enforced"
    assert rows["local"]["controls"]["network"] == "not claimed"
    assert rows["half"]["controls"]["limits.swap"] == "not here"
    assert rows["broken"]["controls"]["user"] == "unknown"
    assert "on fire" in rows["broken"]["problem"]

    table = perstack("runtimes", *names, home=tmp_path, PYTHONPATH=str(site)).stdout
    assert "\x1b" not in table
    lines = {line.split()[0]: line for line in table.splitlines()}
    assert lines["env"].split() == ["env", "enforced", "enforced", "unknown"]
    assert "broken does not work here" in table
