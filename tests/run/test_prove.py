"""``--prove``: the boundary is tried before any skill is started, and what came of it is on record."""

from __future__ import annotations

import json
import secrets

import fake_plugins
from perstack.testing.model_server import ModelServer, Turn
from perstack.testing.project import Project
from perstack.testing.waiting import eventually

LEAKS = """
import os
import anyio
from contextlib import asynccontextmanager
from dataclasses import replace
from perstack_runtime_local.runtime import LocalRuntime

class Leaking(LocalRuntime):
    @asynccontextmanager
    async def open(self, request):
        async with super().open(replace(request, env={**os.environ, **request.env})) as sandbox:
            yield sandbox

class Waiting(LocalRuntime):
    @asynccontextmanager
    async def open(self, request):
        await anyio.sleep_forever()
        yield

@hookimpl
def perstack_register_runtimes():
    return [
        RuntimeSpec(name="leaking", summary="Shows all variables", factory=Leaking, claims=frozenset({"env"})),
        RuntimeSpec(name="waiting", summary="Opens nothing", factory=Waiting, claims=frozenset({"env"})),
    ]
"""


def project(tmp_path) -> tuple[Project, dict[str, str]]:
    site = tmp_path / "site"
    site.mkdir()
    fake_plugins.install(site, "leaking", LEAKS)
    made = Project(tmp_path, '[experts.demo]\ninstruction = "Greet."\n')
    relaxed = tmp_path / "config" / "perstack" / "config.toml"
    relaxed.parent.mkdir(parents=True)
    relaxed.write_text(
        "[policy]\nrelax = "
        + json.dumps(["network", "filesystem", "capabilities", "user", "rootfs"])[:-1]
        + ', "private-addresses", "limits.memory", "limits.cpu", "limits.pids"]\n'
    )
    return made, {"PYTHONPATH": str(site), "HOST_SECRET": secrets.token_hex(16)}


def test_T6_a_run_with_prove_starts_only_after_its_boundary_held(tmp_path) -> None:
    made, env = project(tmp_path)
    with ModelServer([Turn(text="hello")]) as server:
        done = made.run("demo", "go", "--prove", server=server, env=env)

    assert done.exit_code == 0, done.stderr
    (proof,) = done.of("proveBoundary")
    assert proof["ok"] is True
    (verdicts,) = proof["verdicts"].values()
    assert verdicts["env"] == "proved"
    assert verdicts["network"] == "not claimed"
    assert done.types.index("proveBoundary") < done.types.index("skillStarting")
    logged = made.perstack("log", "--json", env=env)
    assert "proveBoundary" in logged.stdout


def test_AH3_a_run_with_prove_is_refused_when_a_claim_does_not_hold_and_no_skill_is_started(tmp_path) -> None:
    made, env = project(tmp_path)
    place = ("--runtime", "leaking", "--workspace", str(made.workspace))
    with ModelServer([Turn(text="hello")]) as server:
        refused = made.perstack("run", *place, "--prove", "--", "demo", "go", server=server, env=env)
        assert server.requests == []
        allowed = made.perstack("run", *place, "--", "demo", "go", server=server, env=env)

    assert refused.exit_code == 6, refused.stderr
    assert "demo / @perstack/base: env" in refused.stderr
    (got_through,) = refused.one("proveBoundary")["broken"]
    assert "HOST_SECRET" in got_through
    assert refused.of("skillStarting", "startRun") == ()
    assert env["HOST_SECRET"] not in refused.stdout + refused.stderr
    assert allowed.exit_code == 0, "the control: without the option nobody notices"
    assert made.perstack("log", env=env).exit_code == 0


def test_AH1_a_proof_that_is_killed_leaves_no_bait_and_no_process_behind(tmp_path) -> None:
    made, env = project(tmp_path)
    place = tmp_path / "temporary"
    place.mkdir()
    command = ("prove", "--runtime", "waiting", "--workspace", str(made.workspace))
    process = made.start(*command, env={**env, "TMPDIR": str(place)})

    def left() -> list[str]:
        return [str(path) for parent in (place, made.state) for path in parent.glob("perstack-pro*")]

    eventually(lambda: len(left()) == 3, "two baits and the directory of the proof")
    process.kill()
    process.communicate(timeout=30)
    eventually(lambda: left() == [], "nothing is left")


def test_a_proof_of_the_local_runtime_claims_variables_and_nothing_else(tmp_path) -> None:
    made, env = project(tmp_path)
    done = made.perstack("prove", "--runtime", "local", "--workspace", str(made.workspace), env=env)
    assert done.exit_code == 0, done.stderr
    verdicts = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert verdicts.count("proved") == 1
    assert verdicts.count("not") == 11
    leaking = made.perstack("prove", "--runtime", "leaking", "--workspace", str(made.workspace), env=env)
    assert leaking.exit_code == 6, "the control: what claims the same and does not hold is found"
    assert "HOST_SECRET" in leaking.stdout
    assert env["HOST_SECRET"] not in leaking.stdout


def test_T6_a_proof_ends_in_its_time_and_what_was_not_tried_by_then_is_not_proved(tmp_path) -> None:
    made, env = project(tmp_path)
    with (made.directory / "perstack.toml").open("a") as file:
        file.write('[experts.other]\ninstruction = "Greet."\n')
    command = ("prove", "--workspace", str(made.workspace), "--json", "--runtime")
    late = made.perstack(*command, "waiting", "--max-duration", "200", env=env)
    assert late.exit_code == 6, late.stderr
    skills = json.loads(late.stdout)["skills"]
    assert [skill["expert"] for skill in skills] == ["demo", "other"]
    for skill in skills:
        verdicts = {control["control"]: control["verdict"] for control in skill["controls"]}
        assert verdicts.pop("env") == "unknown"
        assert set(verdicts.values()) == {"not claimed"}
    assert "no time left" in late.stdout
    in_time = made.perstack(*command, "local", "--max-duration", "50000", env=env)
    assert in_time.exit_code == 0, in_time.stderr
    assert in_time.stderr.count("trying ") == 2
