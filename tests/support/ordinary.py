"""Runs of perstack by an ordinary user, on engines that this user runs without root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from engines import REPORT, ROOT
from perstack.testing import probe
from perstack.testing.model_server import ModelServer, Turn
from perstack.testing.project import RunResult, result_of

LIMITS = ("limits.cpu", "limits.memory", "limits.pids")
RELAXED = tuple(word for name in LIMITS for word in ("--relax", name))
"""The options of a run that goes on without what this machine's control groups may not give an ordinary user."""
HELD = {"network", "filesystem", "capabilities", "user", "env", "rootfs", "private-addresses"}
"""Controls that need no root."""
FACTS = """
import os
result = {"uid": os.getuid(), "map": open("/proc/self/uid_map").read().split(), "net": os.listdir("/sys/class/net"),
          "caps": [line for line in open("/proc/self/status") if line.startswith("CapBnd")][0].split()[1]}
open("/workspace/made", "w").write("inside")
"""


class Ordinary:
    """An ordinary user with a project and a Python that they may run; `env` makes perstack find their engine."""

    def __init__(self, home: Path, runtime: str, env: Mapping[str, str]) -> None:
        self.runtime = runtime
        report = json.loads(REPORT.read_text())["rootless"]
        self.user, self.env = report["user"], {**report["env"], **env}
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
        run = ("run", "--runtime", self.runtime, "--workspace", str(self.workspace), *options, "--", "box", "go")
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

    def relaxed(self, step: tuple[Turn, ...]) -> RunResult:
        """A run with `RELAXED`; all else is enforced, and a run that insists on what is not is refused by its name."""
        strict = self.run(expect=(Turn(text="not reached"),))
        relaxed = self.run(*RELAXED, expect=step)
        assert relaxed.exit_code == 0, relaxed.stderr
        enforced = set(map(str, relaxed.values("skillConnected", "enforced", "*")))
        assert enforced >= HELD
        missing = set(LIMITS) - enforced
        assert strict.exit_code == (5 if missing else 0), strict.stderr
        assert all(name in strict.stderr for name in missing)
        return relaxed

    def cache(self) -> Path:
        """The wheels that other tests have fetched, readable for this user."""
        place = self.directory / "cache"
        if not place.exists():
            source = ROOT / "build" / "cache"
            shutil.copytree(source, place) if source.exists() else place.mkdir()
            subprocess.run(["chown", "-R", f"{self.user}:", str(place)], check=True)
        return place


@contextmanager
def ordinary_user(runtime: str, env: Mapping[str, str] | None = None) -> Iterator[Ordinary]:
    """The user and a directory of theirs, which is gone afterwards."""
    if os.getuid() != 0:
        pytest.skip("makes files of another user")
    home = Path(json.loads(REPORT.read_text())["rootless"]["env"]["HOME"])
    with tempfile.TemporaryDirectory(dir=home) as name:
        yield Ordinary(Path(name), runtime, env or {})
