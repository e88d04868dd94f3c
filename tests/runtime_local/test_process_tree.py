"""Nothing that a skill started outlives its sandbox, whatever it does to hide, and however perstack ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import anyio
import pytest
from perstack.errors import ToolError
from perstack.events import SkillDisconnected
from perstack.testing.probe import probe_argv
from perstack.testing.waiting import eventually_async
from skills import Events, ask, opened, policy, probed, runs

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

WAYS = ["child", "setsid", "orphan", "ignore-term"]


@pytest.mark.parametrize("how", WAYS)
async def test_closing_a_sandbox_ends_every_descendant(tmp_path, how) -> None:
    async with probed(tmp_path) as session:
        descendant = await ask(session, "spawn", how=how)
        skill = (await ask(session, "identity"))["pid"]
        assert runs(descendant)
        assert runs(skill)
    assert not runs(skill)
    assert not runs(descendant)


async def test_a_skill_that_ends_takes_its_descendants_with_it_and_is_reported(tmp_path) -> None:
    events = Events()
    async with opened(tmp_path, policy("probe", probe_argv()), events=events) as skills:
        session = skills["probe"].session
        descendant = await ask(session, "spawn", how="orphan")
        with pytest.raises(ToolError, match="gone"):
            await ask(session, "crash", code=9)
        await eventually_async(lambda: not runs(descendant), "the orphan ends")
        await eventually_async(lambda: skills["probe"].closed is not None, "the end is noticed")
    assert events.of(SkillDisconnected, "reason") == ["it exited with code 9"]


async def test_a_skill_ended_by_a_signal_says_which(tmp_path) -> None:
    events = Events()
    async with opened(tmp_path, policy("probe", probe_argv()), events=events) as skills:
        with pytest.raises(ToolError):
            await ask(skills["probe"].session, "crash", signal=int(signal.SIGSEGV))
        await eventually_async(lambda: skills["probe"].closed is not None, "the end is noticed")
    assert events.of(SkillDisconnected, "reason") == ["it was ended by signal 11"]


async def test_a_skill_that_kills_its_guardian_does_not_stay(tmp_path) -> None:
    async with opened(tmp_path, policy("probe", probe_argv())) as skills:
        skill = await ask(skills["probe"].session, "identity")
        os.kill(skill["parent"], signal.SIGKILL)
        await eventually_async(lambda: not runs(skill["pid"]), "the skill is ended by perstack itself")
        await eventually_async(lambda: skills["probe"].closed is not None, "the end is noticed")
    assert "guardian" in skills["probe"].closed


async def test_cancelling_a_run_ends_its_skills(tmp_path) -> None:
    pids: list[int] = []
    with anyio.move_on_after(20) as scope:
        async with probed(tmp_path) as session:
            pids.append(await ask(session, "spawn", how="setsid"))
            scope.cancel()
            await anyio.sleep_forever()
    assert pids
    assert not runs(pids[0])


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control-without-guardian"])
def test_a_sigkill_of_perstack_ends_the_tree(tmp_path, guarded) -> None:
    """The control shows that the same tree survives without a guardian, so that the test can fail."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(guarded), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")},
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(runs, pids))
        parent.kill()
    deadline = time.monotonic() + (20 if guarded else 0.5)
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    survivors = [pid for pid in pids if runs(pid)]
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert bool(survivors) is not guarded


PARENT = textwrap.dedent(
    """
    import subprocess, sys
    from pathlib import Path

    import anyio
    from perstack.testing.probe import spawn
    from skills import ask, probed

    async def guarded():
        async with probed(Path(sys.argv[2])) as session:
            skill = (await ask(session, "identity"))["pid"]
            print(skill, await ask(session, "spawn", how="ignore-term"), flush=True)
            await anyio.sleep_forever()

    def unguarded():
        print(spawn("orphan"), spawn("ignore-term"), flush=True)
        sys.stdin.read()
        import time; time.sleep(600)

    anyio.run(guarded) if sys.argv[1] == "True" else unguarded()
    """
)
