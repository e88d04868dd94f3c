"""Podman without root, run by an ordinary user: what this machine lets it enforce, and a refusal of the rest."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from egress_box import EgressBox, container_internet
from engines import Engine, answers, python
from locked import locked_project, note, shout, skill
from ordinary import FACTS, HELD, LIMITS, RELAXED, Ordinary, ordinary_user
from package_registry import PackageRegistry
from perstack.errors import ExitCode
from perstack.testing.model_server import Call, Turn

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("rootless")]


@pytest.fixture
def ordinary() -> Iterator[Ordinary]:
    with ordinary_user("podman") as made:
        yield made


def test_AH4_AH3_without_root_what_the_kernel_does_not_let_it_enforce_is_refused_and_the_rest_holds(ordinary) -> None:
    step = (Turn(calls=[python(FACTS)]), Turn(text="done"))
    relaxed = ordinary.relaxed(step)
    (seen,) = answers(relaxed)
    made = ordinary.workspace / "made"
    assert seen["uid"] == made.stat().st_uid != 0, "the user keeps their number, and their files"
    assert int(seen["caps"], 16) == 0
    assert [name for name in seen["net"] if name != "lo"] == []


def test_AF9_AF12_without_root_the_copy_of_an_overlay_is_the_users_own_and_so_is_what_is_applied(ordinary) -> None:
    step = (Turn(calls=[python(FACTS)]), Turn(text="done"))
    result = ordinary.run(*RELAXED, "--workspace-mode", "overlay", expect=step)
    assert result.exit_code == 0, result.stderr
    made = ordinary.workspace / "made"
    assert not made.exists()
    applied = ordinary.run(command=("changes", result.job_id, "--apply"), expect=())
    assert applied.exit_code == 0, applied.stderr
    assert made.read_text() == "inside"
    assert made.stat().st_uid == ordinary.workspace.stat().st_uid != 0


def test_N2_C1_without_root_a_skill_reaches_what_its_list_names_through_its_own_socket(ordinary) -> None:
    real = Engine(name="podman", address="", env=ordinary.env)
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
            *RELAXED,
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
    turns = (Turn(calls=[Call("shout", {}), Call("note", {})]), Turn(text="done"))
    result = ordinary.run(*RELAXED, expect=turns, skills=skills)
    assert result.exit_code == 0, result.stderr
    assert (result.tool_results["shout"], result.tool_results["note"]) == ("from npm", "from an index")
    (module,) = (ordinary.cache() / "packages").glob("*/site/note.py")
    module.write_text("print('owned')")
    changed = ordinary.run(*RELAXED, expect=turns, skills=skills)
    assert changed.exit_code == ExitCode.CHANGED
    assert "site/note.py was changed" in changed.stderr


def test_AH4_without_root_a_proof_tries_what_is_enforced_and_says_what_is_not_claimed_here(ordinary) -> None:
    place = ("prove", "--runtime", "podman", "--workspace", str(ordinary.workspace), "--json")
    refused = ordinary.run(expect=(), command=place)
    assert refused.exit_code == 5, "as a run would be"
    done = ordinary.run(expect=(), command=(*place, *RELAXED))
    assert done.exit_code == 0, done.stdout + done.stderr
    for tried in json.loads(done.stdout)["skills"]:
        found = {control["control"]: control["verdict"] for control in tried["controls"]}
        held = {control for control, verdict in found.items() if verdict == "proved"}
        assert held >= HELD
        assert {found[name] for name in LIMITS} == {"not claimed"}
