"""What a way out costs at the start: the first tool answer of a skill with domains, above that of one without."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from perstack.testing import probe
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.project import Project

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "build" / "engines.json"
ENGINES = ("docker", "podman")
SECONDS = 600.0
EXPERT = '[experts.box]\ninstruction = "Try."\n'
SKILL = (
    '[experts.box.skills.probe]\ntype = "mcpStdioSkill"\ncommand = "python3"\nargs = ["-I", "/workspace/probe.py"]\n'
    'pick = ["identity"]\n'
)
DOMAINS = 'allowedDomains = ["api.example.com"]\n'


def added(engine: str, runs: int) -> float:
    """Seconds that domains add to the first tool answer on this engine: medians of runs that take turns.

    Raises:
        RuntimeError: The engine is not there, or a run failed.
    """
    if not REPORT.exists():
        raise RuntimeError("run scripts/engines first")
    with tempfile.TemporaryDirectory(prefix="perstack-bench-") as name:
        project = Project(Path(name), "")
        shutil.copy(probe.__file__, project.workspace / "probe.py")
        first_answer(project, engine, DOMAINS)  # the images are there afterwards
        times: dict[str, list[float]] = {"": [], DOMAINS: []}
        for _ in range(runs):
            for extra, found in times.items():
                found.append(first_answer(project, engine, extra))
    return median(times[DOMAINS]) - median(times[""])


def first_answer(project: Project, engine: str, extra: str) -> float:
    """Seconds from the start of perstack to the first tool's answer."""
    env = {**json.loads(REPORT.read_text())[engine]["env"], "PERSTACK_CACHE_DIR": str(ROOT / "build" / "cache")}
    project.write(EXPERT + SKILL + extra)
    words = ("run", "--runtime", engine, "--workspace", str(project.workspace), "--", "box", "go")
    with ModelServer([Turn(calls=[Call("identity", {})]), Turn(text="done")]) as server:
        started = time.time()
        result = project.perstack(*words, server=server, env=env, timeout=SECONDS)
    if result.exit_code:
        raise RuntimeError(f"a run on {engine} failed: {result.stderr.strip()[-500:]}")
    return int(str(result.of("finishToolExecution")[0]["timestamp"])) / 1000 - started
