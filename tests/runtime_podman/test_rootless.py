"""Podman without root, run by an ordinary user: what this machine lets it enforce, and a refusal of the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from egress_box import EgressBox, container_internet
from engines import REPORT, ROOT, Engine, answers, python
from locked import locked_project, note, shout, skill
from package_registry import PackageRegistry
from perstack.errors import ExitCode
from perstack.testing import probe
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.project import RunResult, result_of

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("rootless")]

LIMITS = ("limits.cpu", "limits.memory", "limits.pids")
FACTS = """
import os
result = {"uid": os.getuid(), "map": open("/proc/self/uid_map").read().split(), "net": os.listdir("/sys/class/net"),
          "caps": [line for line in open("/proc/self/status") if line.startswith("CapBnd")][0].split()[1]}
open("/workspace/made", "w").write("inside")
"""


class Ordinary:
    """An ordinary user with a project and a Python that they may run."""

    def __init__(self, home: Path) -> None:
        report = json.loads(REPORT.read_text())["rootless"]
        self.user, self.env = report["user"], report["env"]
        self.directory = home
        self.workspace = home / "project"
        self.workspace.mkdir()
        shutil.copy(probe.__file__, self.workspace / "probe.py")
        subprocess.run(["chown", "-R", f"{self.user}:", str(home)], check=True)

    @property
    def python(self) -> str:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        found = shutil.which(f"python{version}", path="/usr/bin:/usr/local/bin")
        if found is None:
            pytest.skip(f"no python{version} that an ordinary user may run")
        return found

    def run(
        self,
        *options: str,
        expect: tuple[Turn, ...],
        command: tuple[str, ...] = (),
        domains: tuple[str, ...] = (),
        skills: str = "",
    ) -> RunResult:
        toml = 'model = "scripted"\n[provider]\nproviderName = "openai"\n[experts.box]\ninstruction = "Try."\n'
        toml += skills or (
            '[experts.box.skills.probe]\ntype = "mcpStdioSkill"\ncommand = "python3"\n'
            'args = ["-I", "/workspace/probe.py"]\npick = ["python"]\n'
            f"allowedDomains = {json.dumps(domains)}\n"
        )
        (self.directory / "perstack.toml").write_text(toml)
        run = ("run", "--runtime", "podman", "--workspace", str(self.workspace), *options, "--", "box", "go")
        with ModelServer(list(expect)) as server:
            env = {
                **self.env,
                "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith(("src", "site-packages"))),
                "XDG_CONFIG_HOME": str(self.directory / "config"),
                "PERSTACK_STATE_DIR": str(self.directory / "state"),
                "PERSTACK_CACHE_DIR": str(self.cache()),
                "OPENAI_API_KEY": "key-of-the-tests",
                "OPENAI_BASE_URL": server.openai_url,
            }
            done = subprocess.run(
                [self.python, "-m", "perstack", *(command or run)],
                cwd=self.directory, env=env, user=self.user, group=self.user, extra_groups=[], capture_output=True,
                text=True, timeout=600, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        return result_of(done.returncode, done.stdout, done.stderr)

    def cache(self) -> Path:
        """The wheels that other tests have fetched, readable for this user."""
        place = self.directory / "cache"
        if not place.exists():
            source = ROOT / "build" / "cache"
            shutil.copytree(source, place) if source.exists() else place.mkdir()
            subprocess.run(["chown", "-R", f"{self.user}:", str(place)], check=True)
        return place


@pytest.fixture
def ordinary() -> Iterator[Ordinary]:
    if os.getuid() != 0:
        pytest.skip("makes files of another user")
    home = Path(json.loads(REPORT.read_text())["rootless"]["env"]["HOME"])
    with tempfile.TemporaryDirectory(dir=home) as name:
        yield Ordinary(Path(name))


def test_AH4_AH3_without_root_what_the_kernel_does_not_let_it_enforce_is_refused_and_the_rest_holds(ordinary) -> None:
    step = (Turn(calls=[python(FACTS)]), Turn(text="done"))
    strict = ordinary.run(expect=(Turn(text="not reached"),))
    relaxed = ordinary.run(*(word for name in LIMITS for word in ("--relax", name)), expect=step)
    assert relaxed.exit_code == 0, relaxed.stderr
    enforced = set(map(str, relaxed.values("skillConnected", "enforced", "*")))
    assert {"network", "filesystem", "capabilities", "user", "env", "rootfs", "private-addresses"} <= enforced
    missing = set(LIMITS) - enforced
    assert strict.exit_code == (5 if missing else 0), strict.stderr
    assert all(name in strict.stderr for name in missing)
    (seen,) = answers(relaxed)
    made = ordinary.workspace / "made"
    assert seen["uid"] == made.stat().st_uid != 0, "the user keeps their number, and their files"
    assert int(seen["caps"], 16) == 0
    assert [name for name in seen["net"] if name != "lo"] == []


def test_AF9_AF12_without_root_the_copy_of_an_overlay_is_the_users_own_and_so_is_what_is_applied(ordinary) -> None:
    step = (Turn(calls=[python(FACTS)]), Turn(text="done"))
    relaxed = tuple(word for name in LIMITS for word in ("--relax", name))
    result = ordinary.run(*relaxed, "--workspace-mode", "overlay", expect=step)
    assert result.exit_code == 0, result.stderr
    made = ordinary.workspace / "made"
    assert not made.exists()
    applied = ordinary.run(command=("changes", result.job_id, "--apply"), expect=())
    assert applied.exit_code == 0, applied.stderr
    assert made.read_text() == "inside"
    assert made.stat().st_uid == ordinary.workspace.stat().st_uid != 0


def test_N2_C1_without_root_a_skill_reaches_what_its_list_names_through_its_own_socket(ordinary) -> None:
    real = Engine(name="podman", socket="", env=ordinary.env)
    folder = ordinary.directory / "internet"
    folder.mkdir()
    user = ("setpriv", f"--reuid={ordinary.user}", f"--regid={ordinary.user}", "--init-groups")
    with container_internet(real, folder, prefix=user, options=["--userns=keep-id"]) as (container, internet):
        internet.site("api.example.com", "93.184.216.34")
        settings = ordinary.directory / "config" / "perstack"
        settings.mkdir(parents=True)
        egress = f'[egress]\nnetwork = "container:{container}"\nnameServers = ["127.0.0.1"]\n'
        (settings / "config.toml").write_text(egress)
        shutil.copy(internet.authority, ordinary.workspace / "authority.crt")
        subprocess.run(["chown", "-R", f"{ordinary.user}:", str(ordinary.workspace), str(settings)], check=True)
        calls = ("result = get('api.example.com')", "result = denied('evil.example.org')")
        result = ordinary.run(
            *(word for name in LIMITS for word in ("--relax", name)),
            expect=(Turn(calls=[EgressBox.python(source) for source in calls]), Turn(text="done")),
            domains=("api.example.com",),
        )
        assert result.exit_code == 0, result.stderr
        assert EgressBox.found(result) == ["hello", [403, "host"]]
        assert [one.server_name for one in internet.arrivals] == ["api.example.com"]
    enforced = set(map(str, result.values("skillConnected", "enforced", "*")))
    assert {"network", "private-addresses"} <= enforced


def test_AC2_without_root_locked_packages_are_run_and_compared(ordinary, tmp_path) -> None:
    registry = PackageRegistry()
    registry.add_npm(shout("from npm"))
    registry.add_wheel(*note("from an index"))
    skills = skill("shout", "npx", "shout") + skill("note", "uvx", "note")
    with locked_project(tmp_path, "podman", registry) as made:
        made.write(skills)
        installed = made.install()
        assert installed.exit_code == 0, installed.stderr
        shutil.copy(made.lock, ordinary.directory)
        shutil.copytree(made.store, ordinary.cache() / "packages")
    subprocess.run(["chown", "-R", f"{ordinary.user}:", str(ordinary.directory)], check=True)
    relaxed = [word for name in LIMITS for word in ("--relax", name)]
    turns = (Turn(calls=[Call("shout", {}), Call("note", {})]), Turn(text="done"))
    result = ordinary.run(*relaxed, expect=turns, skills=skills)
    assert result.exit_code == 0, result.stderr
    assert (result.tool_results["shout"], result.tool_results["note"]) == ("from npm", "from an index")
    (module,) = (ordinary.cache() / "packages").glob("*/site/note.py")
    module.write_text("print('owned')")
    changed = ordinary.run(*relaxed, expect=turns, skills=skills)
    assert changed.exit_code == ExitCode.CHANGED
    assert "site/note.py was changed" in changed.stderr


def test_AH4_without_root_a_proof_tries_what_is_enforced_and_says_what_is_not_claimed_here(ordinary) -> None:
    relaxed = [word for name in LIMITS for word in ("--relax", name)]
    place = ("prove", "--runtime", "podman", "--workspace", str(ordinary.workspace), "--json")
    refused = ordinary.run(expect=(), command=place)
    assert refused.exit_code == 5, "as a run would be"
    done = ordinary.run(expect=(), command=(*place, *relaxed))
    assert done.exit_code == 0, done.stdout + done.stderr
    for tried in json.loads(done.stdout)["skills"]:
        found = {control["control"]: control["verdict"] for control in tried["controls"]}
        held = {control for control, verdict in found.items() if verdict == "proved"}
        assert {"network", "filesystem", "capabilities", "user", "env", "rootfs", "private-addresses"} <= held
        assert {found[name] for name in LIMITS} == {"not claimed"}
