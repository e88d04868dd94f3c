"""What separates perstack from a skill on the local runtime, and what is said about what does not."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from perstack.errors import ControlsMissing
from perstack.sandbox.gaps import unenforced
from perstack.skill_policy import BUILT_IN, EgressGrant, Mount
from perstack.testing.probe import probe_argv
from skills import Events, ask, opened, policy, probed

NOBODY = 65534
SUPPORT = Path(__file__).parents[1] / "support"


async def test_T7_a_skill_is_a_process_of_its_own_with_a_session_of_its_own(tmp_path) -> None:
    async with probed(tmp_path) as session:
        skill = await ask(session, "identity")
        assert skill["pid"] not in (os.getpid(), skill["parent"])
        assert skill["parent"] != os.getpid()
        assert os.getsid(skill["pid"]) == skill["pid"]
    assert skill["cwd"] == str(tmp_path)


async def test_a_required_control_that_is_missing_refuses_before_anything_is_started(tmp_path) -> None:
    marker, events = tmp_path / "started", Events()
    argv = ("touch", str(marker))
    demanding = policy("tool", argv, required=frozenset({"env", "network", "filesystem"}))
    with pytest.raises(ControlsMissing, match="'local' does not enforce filesystem, network for skill 'tool'"):
        async with opened(tmp_path, demanding, events=events):
            pass
    assert not marker.exists()
    with pytest.raises(Exception, match="did not connect"):  # the control: nothing but the requirement stood in the way
        async with opened(tmp_path, policy("tool", argv, required=frozenset({"env"}))):
            pass
    assert marker.exists()


def test_T12_every_line_that_is_not_enforced_is_said(tmp_path) -> None:
    one = policy(
        "tool",
        ("true",),
        image="python:3.13",
        egress=(EgressGrant(pattern="api.example.com", origin=BUILT_IN),),
        mounts=(Mount(host=tmp_path, target="/workspace", mode="rw", origin=BUILT_IN),),
    )
    lines = "\n".join(unenforced(one, frozenset({"env"})))
    for part in ("api.example.com", str(tmp_path), "python:3.13", "2048 MiB", "256 processes", "runs as you"):
        assert part in lines
    everything = frozenset(
        {"env", "network", "filesystem", "user", "capabilities", "rootfs", "limits.memory", "limits.cpu", "limits.pids"}
    )
    assert unenforced(one, everything) == ()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that any user may write to; pytest's own are for one user."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def ordinary_python() -> str:
    """An interpreter of this version that an ordinary user may run."""
    if os.getuid() != 0:
        return sys.executable
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(f"python{version}", path=os.defpath)):
        try:
            if candidate and subprocess.run([candidate, "-c", ""], **as_nobody(), check=False).returncode == 0:
                return candidate
        except PermissionError:
            continue
    pytest.skip(f"no python{version} that an ordinary user may run")


def search_path() -> str:
    """Where another interpreter of this version finds what this one imports, without its standard library."""
    return os.pathsep.join(
        [str(SUPPORT), *(path for path in sys.path if "site-packages" in path or path.endswith("src"))]
    )


def as_nobody() -> dict[str, object]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/"} if os.getuid() == 0 else {"cwd": "/"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_AS5_an_ordinary_users_skill_cannot_read_the_variables_of_perstack_or_a_guardian(open_directory) -> None:
    """Run by root it would prove nothing: root reads every process. The control is the same process, left dumpable."""
    python, secret = ordinary_python(), f"canary-{secrets.token_hex(16)}"
    found = {}
    for mode in ("dumpable", "not-dumpable"):
        done = subprocess.run(
            [python, "-c", RUN, mode, str(open_directory)],
            env={"PERSTACK_KEY": secret, "PYTHONPATH": search_path()},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **as_nobody(),
        )
        assert done.returncode == 0, done.stderr
        found[mode] = done.stdout.split()
    assert found == {"dumpable": ["perstack"], "not-dumpable": []}


RUN = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path

    import anyio
    from perstack_proxy.processes import set_not_dumpable
    from skills import ask, probed

    async def main():
        secret = os.environ["PERSTACK_KEY"]
        if sys.argv[1] == "not-dumpable":
            assert set_not_dumpable()
        async with probed(Path(sys.argv[2]), env={}) as session:
            guardian = (await ask(session, "identity"))["parent"]
            names = {os.getpid(): "perstack", guardian: "guardian"}
            places = await ask(session, "processes_that_hold", needle=secret)
            print(*(names.get(int(pid), pid) for pid in places.get("environ", [])))

    anyio.run(main)
    """
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_AS5_a_guardians_memory_is_closed_to_the_user_it_runs_as(open_directory) -> None:
    """The guardian has held its skill's secrets; its memory and its descriptors are closed to its skill."""
    done = subprocess.run(
        [ordinary_python(), "-c", READ_GUARDIAN, str(open_directory)],
        env={"PYTHONPATH": search_path()},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **as_nobody(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["own:readable", "guardian:PermissionError"]


READ_GUARDIAN = textwrap.dedent(
    """
    import sys
    from pathlib import Path

    import anyio
    from perstack.messages import text_of
    from skills import ask, probed

    async def main():
        async with probed(Path(sys.argv[1]), env={}) as session:
            identity = await ask(session, "identity")
            for name, pid in (("own", identity["pid"]), ("guardian", identity["parent"])):
                outcome = await session.call("read", {"path": f"/proc/{pid}/maps"}, timeout=20)
                text = text_of(outcome.contents)
                print(f"{name}:{text.split(':')[0] if outcome.is_error else 'readable'}")

    anyio.run(main)
    """
)


async def test_two_skills_of_one_run_have_guardians_of_their_own(tmp_path) -> None:
    async with opened(tmp_path, policy("one", probe_argv()), policy("other", probe_argv())) as skills:
        guardians = {(await ask(skill.session, "identity"))["parent"] for skill in skills.values()}
    assert len(guardians) == 2
