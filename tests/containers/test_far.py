"""An engine on another machine: it mounts nothing of ours, so skills work on a copy there, which is brought back.

Its daemon has mounts of its own, in which the directory that these tests work in is empty (scripts/engines).
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import time

import pytest
from egress_box import egress_box
from engines import SECONDS, Box, answers, box, engine, eventually, python
from locked import locked_project, note, shout, skill
from package_registry import PackageRegistry
from perstack.errors import ExitCode
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack_containers.http import EngineFailure, call, remove_volume, volumes
from perstack_containers.labels import OWNER as OWNED_BY
from perstack_containers.labels import RUN, SUPERVISOR, owner_name

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("far")]

GONE_SECONDS = 20.0
MOMENTS = 6
OWNER = 4321


@pytest.fixture
def far(tmp_path) -> Box:
    return box(tmp_path, "docker", at="far")


def left(one: Box, pid: int) -> list[str]:
    """Containers and volumes of a perstack process on the engine, and files of its runs here."""
    files = [str(path) for path in one.project.state.glob("sandboxes/*")]
    return [*one.engine.containers(pid), *volumes_of(one, pid), *files]


def volumes_of(one: Box, pid: int) -> list[str]:
    found = volumes(one.engine.address, {RUN: ""})
    return [name for name, labels in found if labels.get(SUPERVISOR, "").split("/")[2:3] == [str(pid)]]


CHANGES = """
import os
open("/workspace/edited", "w").write("inside")
os.unlink("/workspace/deleted")
os.makedirs("/workspace/new/deep")
open("/workspace/new/deep/file", "w").write("inside")
os.link("/workspace/new/deep/file", "/workspace/second-name")
os.symlink("new/deep/file", "/workspace/link")
os.symlink("/etc/passwd", "/workspace/out")
os.chmod("/workspace/edited", 0o4755)
for name in (".envrc", ".git/hooks/pre-commit", "sub/.vscode/tasks.json"):
    os.makedirs(os.path.dirname(f"/workspace/{name}"), exist_ok=True)
    open(f"/workspace/{name}", "w").write("owned")
names = open("/etc/resolv.conf").read()
result = [os.getuid(), open("/workspace/kept").read(), os.path.exists("/workspace/.env"), names]
"""


def prepare(one: Box) -> str:
    """Files that are changed and files that must not be; returns a secret that is in one of them."""
    secret = f"canary-{secrets.token_hex(16)}"
    (one.workspace / ".git/hooks").mkdir(parents=True)
    for name in ("edited", "deleted", "kept", ".git/hooks/pre-commit"):
        (one.workspace / name).write_text("as it was")
    (one.workspace / ".env").write_text(secret)
    return secret


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside another that may write"])
def test_AF9_what_a_policy_opens_comes_back_from_a_copy_if_no_other_skill_could_have_changed_it(far, alone) -> None:
    changed = [".github/ci.yml", ".gitlab/new/ci.yml"]
    (far.workspace / ".github").mkdir()
    (far.workspace / ".github/ci.yml").write_text("as it was")
    files = 'files = { writable = [".github/**", ".gitlab/new/**"], readable = [".npmrc"] }'
    far.write(
        f'[experts.box.skills."@perstack/base"]\ntype = "mcpStdioSkill"\n{files}\n',
        far.skill(extra=f'workspaceMode = "{"ro" if alone else "rw"}"'),
    )
    result = far.run(
        *(Call("writeTextFile", {"path": name, "text": "changed"}) for name in changed),
        Call("exec", {"command": "sh", "args": ["-c", "echo x > .vimrc; echo x > ordinary"]}),
    )
    assert result.exit_code == 0, result.stderr
    found = [
        name
        for name in changed
        if (far.workspace / name).exists() and (far.workspace / name).read_text() != "as it was"
    ]
    assert found == (changed if alone else [])
    assert (far.workspace / "ordinary").exists(), "the control"
    assert not (far.workspace / ".vimrc").exists(), "it is not opened"
    assert [event for event in result.of("skillNotice") if ".npmrc stays closed" in str(event["message"])]


def test_AF9_AF10_AF12_what_skills_change_on_another_machine_is_brought_back_under_the_rules_of_a_copy(far) -> None:
    prepare(far)
    for place in [far.workspace, *far.workspace.rglob("*")]:
        os.chown(place, OWNER, OWNER)
    result = far.run(python(CHANGES))
    assert result.exit_code == 0, result.stderr
    assert answers(result) == [[OWNER, "as it was", False, ""]]
    place = far.workspace
    assert (place / "edited").read_text() == (place / "link").read_text() == "inside"
    assert (place / "second-name").read_text() == "inside"
    assert not (place / "deleted").exists()
    assert (place / "edited").stat().st_mode & 0o7777 == 0o755
    assert {(place / name).stat().st_uid for name in ("edited", "new", "new/deep/file", "second-name")} == {OWNER}
    assert (place / ".git/hooks/pre-commit").read_text() == "as it was"
    assert not [name for name in ("out", ".envrc", "sub/.vscode/tasks.json") if os.path.lexists(place / name)]
    notices = " ".join(str(event["message"]) for event in result.of("skillNotice"))
    for name in ("out", ".envrc", ".git/hooks/pre-commit", "sub/.vscode"):
        assert name in notices
    (kept,) = (far.project.state / "quarantine").iterdir()
    assert (kept / ".envrc").read_text() == "owned", "and nothing is lost"
    assert not list((far.project.state / "changes").iterdir())


def test_AF10_AS6_AS7_AF11_the_engine_gets_neither_a_path_nor_a_secret_of_ours(far) -> None:
    token, secret = f"canary-{secrets.token_hex(16)}", prepare(far)
    far.env["TOKEN"] = token
    far.write(far.skill(extra='requiredEnv = ["TOKEN"]'))
    with far.running(python("import os\nresult = os.environ['TOKEN']")) as process:
        far.container(process)
        known = [far.engine.inspect(name) for name in far.engine.containers(process.pid)]
        assert len(known) >= 2, "the control: a sandbox and the holder of the copy"
        copies = [name for name, _ in volumes(far.engine.address, {RUN: ""})]
        known += [call(far.engine.address, "GET", f"/volumes/{name}") for name in copies]
        text = json.dumps(known)
        assert token not in text
        assert secret not in text
        assert str(far.project.directory) not in text
        for one in known:
            assert {mount["Type"] for mount in one.get("Mounts", [])} <= {"volume", "tmpfs"}
            assert not one.get("HostConfig", {}).get("Binds")
        mount = {"Type": "bind", "Source": str(far.workspace), "Target": "/w"}
        body = {"Image": "debian:bookworm-slim", "HostConfig": {"Mounts": [mount]}}
        with pytest.raises(EngineFailure, match="does not exist"):
            call(far.engine.address, "POST", "/containers/create", body=body)
    assert left(far, process.pid) == []


def test_AH3_AF11_an_engine_of_another_machine_behind_a_socket_here_is_refused_and_mounts_nothing_else(far) -> None:
    prepare(far)
    far.env["DOCKER_HOST"] = "unix:///var/lib/perstack-test/docker.sock"
    for place in [far.workspace, *far.workspace.rglob("*")]:
        os.chown(place, OWNER, OWNER)
    refused = far.run(python("result = 1"))
    assert refused.exit_code == ExitCode.FAILED
    assert "bind source path does not exist" in refused.stderr
    assert "ssh://USER@MACHINE" in refused.stderr
    del far.env["DOCKER_HOST"]
    assert far.ask("result = 1") == [1], "the control: with an address that says so it works"


def test_F2_AF9_ro_brings_nothing_back_and_overlay_waits_for_the_person(far) -> None:
    prepare(far)
    try_to = "\ntry:\n    open('/workspace/edited', 'w')\nexcept OSError as error: result = error.strerror\n"
    refused = far.run(python(try_to), options=("--workspace-mode", "ro"))
    assert answers(refused) == ["Read-only file system"]
    before = sorted(path.name for path in far.workspace.iterdir())
    result = far.run(python(CHANGES), options=("--workspace-mode", "overlay"))
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in far.workspace.iterdir()) == before
    assert (far.workspace / "edited").read_text() == "as it was"
    again = python("result = open('/workspace/edited').read()\nopen('/workspace/new/deep/file', 'w').write('again')")
    result = far.run(again, options=("--continue-job", result.job_id, "--workspace-mode", "overlay"))
    assert answers(result) == ["inside"], "the job's copy goes on"
    shown = far.project.perstack("changes", result.job_id, "--json", env=far.all_env)
    changes = json.loads(shown.stdout)["changes"]
    assert {tuple(call["tool"] for call in change["calls"]) for change in changes} <= {("python",), ("python",) * 2}
    applied = far.project.perstack("changes", result.job_id, "--apply", "--json", env=far.all_env)
    assert (far.workspace / "edited").read_text() == "inside"
    assert (far.workspace / "new/deep/file").read_text() == "again"
    assert not (far.workspace / "deleted").exists()
    held = {change["path"]: change["verdict"] for change in json.loads(applied.stdout)["left"]}
    assert {held[name] for name in (".envrc", "out", ".git/hooks/pre-commit")} == {"held"}


def test_skills_of_a_run_work_on_one_copy_and_what_changed_here_meanwhile_is_kept(far) -> None:
    prepare(far)
    base = Call("writeTextFile", {"path": "by-base", "text": "text of the base skill"})
    look = python("open('/workspace/edited', 'w').write('inside')\nresult = open('/workspace/by-base').read()")
    turns = [Turn(calls=[base]), Turn(calls=[look]), Turn(calls=[Call("hang", {})]), Turn(text="done")]
    with ModelServer(turns) as server:
        process = far.project.start(*far.args(), server=server, env=far.all_env)
        eventually(lambda: len(server.requests) >= 3, "the second step is done", seconds=120)
        (far.workspace / "edited").write_text("on this machine meanwhile")
        process.terminate()
        stdout, _ = process.communicate(timeout=60)
    assert '"text":"\\"text of the base skill\\""' in stdout or "text of the base skill" in stdout
    assert (far.workspace / "by-base").read_text() == "text of the base skill"
    assert (far.workspace / "edited").read_text() == "on this machine meanwhile"
    assert left(far, process.pid) == []


def test_AH1_AH2_a_kill_at_any_moment_leaves_nothing_on_another_machine(far) -> None:
    prepare(far)
    far.ask("result = 1")  # the image is there
    chance, met = random.Random(11), 0
    for moment in range(MOMENTS):
        with ModelServer([Turn(calls=[Call("hang", {})]), Turn(text="done")]) as server:
            process = far.project.start(*far.args(), server=server, env=far.all_env)
            if moment % 2:
                eventually(lambda pid=process.pid: volumes_of(far, pid), "a copy is being made")
            time.sleep(chance.random())  # the moment itself is what is tried
            met += bool(volumes_of(far, process.pid))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
        eventually(
            lambda pid=process.pid: not left(far, pid), f"nothing is left of kill {moment}", seconds=GONE_SECONDS
        )
    assert met >= MOMENTS // 2, "the control: some kills met volumes"
    assert (far.workspace / "edited").read_text() == "as it was"


def test_AX6_AF9_what_cannot_be_taken_as_a_whole_is_not_taken_and_the_run_says_so(far) -> None:
    prepare(far)
    deep = "import os\nopen('/workspace/edited', 'w').write('inside')\nos.chdir('/workspace')\nresult = 1\n"
    deep += "for _ in range({}):\n    os.mkdir('d')\n    os.chdir('d')\n"
    result = far.run(python(deep.format(120)))
    assert result.exit_code == 0, result.stderr
    notices = " ".join(str(event["message"]) for event in result.of("skillNotice"))
    assert "nothing that skills changed is brought back from the engine" in notices
    assert (far.workspace / "edited").read_text() == "as it was"
    assert not (far.workspace / "d").exists()
    assert far.run(python(deep.format(20))).exit_code == 0
    assert (far.workspace / "edited").read_text() == "inside", "the control: what can be taken is"


def test_N2_C1_AN3_a_skill_on_another_machine_reaches_what_its_list_names_and_nothing_else(tmp_path) -> None:
    with egress_box(tmp_path, "docker", at="far") as outside:
        for host in ("api.example.com", "other.example.com"):
            outside.internet.site(host, "93.184.216.34")
        outside.write(outside.skill(extra='allowedDomains = ["api.example.com"]'))
        calls = [
            outside.python("result = get('api.example.com')"),
            outside.python("result = denied('other.example.com')"),
        ]
        result = outside.run(*calls)
        assert result.exit_code == 0, result.stderr
        assert outside.found(result)[0] == "hello"
        assert [arrival.server_name for arrival in outside.internet.arrivals] == ["api.example.com"]
        assert outside.internet.asked() == {"api.example.com"}
        outside.settings(network=outside.settings_now["network"], nameServers=["127.0.0.1"])
        refused = outside.run(*calls)
        assert refused.exit_code == ExitCode.FAILED
        assert "other name servers" in refused.stderr


def test_AC2_AM4_locked_packages_are_on_another_machine_what_they_were_locked_to_and_cannot_be_changed(
    tmp_path,
) -> None:
    registry = PackageRegistry()
    registry.add_wheel(*note("first"))
    registry.add_npm(shout("first"))
    with locked_project(tmp_path, "docker", registry) as made:
        there = engine("docker", at="far")
        made.write(skill("note", "uvx", "note"), skill("shout", "npx", "shout"))
        done = made.install()
        assert done.exit_code == 0, done.stderr
        calls = (Call("note", {}), Call("shout", {}))
        assert made.run(*calls, on=there).tool_results == {"note": "first", "shout": "first"}
        (installed,) = made.store.glob("*/node_modules/shout/index.js")
        installed.write_text(installed.read_text().replace("first", "other"))
        result = made.run(*calls, on=there)
        assert result.exit_code == ExitCode.CHANGED
        assert "node_modules/shout/index.js was changed" in result.stderr
        assert volumes(there.address, {RUN: ""}) == []


def test_AH2_AH6_gc_removes_what_this_machine_left_and_nothing_of_another_machines_user(far) -> None:
    ended = {RUN: "of-the-past", SUPERVISOR: "other-boot/1/1/1"}
    owners = {"ours": owner_name(far=True), "theirs": f"{os.getuid()}@{'0' * 16}", "near": owner_name(far=False)}
    names = {whose: f"perstack-test-{whose}-{secrets.token_hex(4)}" for whose in owners}
    for whose, owner in owners.items():
        body = {"Name": names[whose], "Labels": {**ended, OWNED_BY: owner}}
        call(far.engine.address, "POST", "/volumes/create", body=body)
    try:
        done = far.project.perstack("gc", "--runtime", "docker", env=far.all_env)
        assert done.exit_code == 0, done.stderr
        there = {name for name, _ in volumes(far.engine.address, {RUN: ended[RUN]})}
        assert names["ours"] not in there
        assert {names["theirs"], names["near"]} <= there
    finally:
        for name in names.values():
            remove_volume(far.engine.address, name)


def test_prove_shows_on_another_machine_every_control_that_is_claimed(far) -> None:
    args = ("prove", "box", "--runtime", "docker", "--workspace", str(far.workspace))
    done = far.project.perstack(*args, env=far.all_env, timeout=SECONDS)
    assert done.exit_code == 0, done.stdout
    assert done.stdout.rstrip().endswith("22 proved, 2 not claimed"), done.stdout
