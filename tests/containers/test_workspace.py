"""What of the host a sandbox sees as its workspace, what it may change, and what comes back."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
from pathlib import Path

import pytest
from engines import SECONDS, Box, answers, python
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack.testing.waiting import eventually

pytestmark = pytest.mark.engine

OWNER, IMPOSTOR = 4321, 4322


def canary() -> str:
    return f"canary-{secrets.token_hex(16)}"


def owned(hostile: Box, uid: int = OWNER) -> None:
    """The workspace belongs to an ordinary user, so that it is mounted and not copied."""
    for place in [hostile.workspace, *hostile.workspace.rglob("*")]:
        os.chown(place, uid, uid)


CHANGE = """
import os, shutil
result = {}
for path in %r:
    tried = []
    for how in ("write", "append", "replace", "remove", "rename"):
        try:
            if how == "write":
                os.makedirs(os.path.dirname(path), exist_ok=True)
                open(path, "w").write("owned")
            elif how == "append":
                open(path, "a").write("owned")
            elif how == "replace":
                open("/workspace/other", "w").write("owned"); os.replace("/workspace/other", path)
            elif how == "remove":
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
            else:
                os.rename(os.path.dirname(path), os.path.dirname(path) + "-moved")
            tried.append(how)
        except OSError:
            pass
    result[path] = tried
"""


@pytest.mark.parametrize("mounted", [True, False], ids=["mounted", "copied"])
def test_AF9_files_that_other_tools_obey_cannot_be_changed_and_new_ones_do_not_stay(hostile, mounted) -> None:
    there = ["perstack.toml", ".git/hooks/pre-commit", ".git/config", ".github/workflows/ci.yml", ".vscode/tasks.json"]
    for name in there:
        path = hostile.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("as it was")
    if mounted:
        owned(hostile)
    new = [".envrc", ".husky/pre-commit", ".gitlab-ci.yml", "sub/.env", "sub/.vscode/tasks.json", "lib/.git/hooks/x"]
    names = [f"/workspace/{name}" for name in (*there, *new, "src/ordinary.py")]
    result = hostile.run(
        python(
            CHANGE % names
            + "\nfor name in ('ordinary', '.gitlab-ci.yml'): open(f'/workspace/{name}', 'w').write('owned')"
        )
    )
    assert result.exit_code == 0, result.stderr
    for name in there:
        assert (hostile.workspace / name).read_text() == "as it was", name
    for name in new:
        assert not (hostile.workspace / name).exists(), name
    assert (hostile.workspace / "ordinary").read_text() == "owned", "the control: other files can be changed"
    assert [event for event in result.of("skillNotice") if ".gitlab-ci.yml" in str(event["message"])]


def test_AF9_AF10_what_a_policy_opens_is_open_to_the_base_skill_and_to_no_other_skill(hostile) -> None:
    secrets_were, secret_is = canary(), canary()
    there = {".github/ci.yml": "as it was", ".github/perstack.toml": "as it was", ".gitlab-ci.yml": "as it was"}
    there |= {".env": secrets_were, ".npmrc": secrets_were, ".vscode/tasks.json": "as it was"}
    there |= {".vscode/settings.json": "as it was"}
    for name, text in there.items():
        (hostile.workspace / name).parent.mkdir(exist_ok=True)
        (hostile.workspace / name).write_text(text)
    owned(hostile)
    opened = [".github/**", ".gitlab-ci.yml", ".env", ".buildkite/**", ".vscode/settings.json"]
    files = f'files = {{ writable = {opened}, readable = [".env"] }}'
    base = f'[experts.box.skills."@perstack/base"]\ntype = "mcpStdioSkill"\n{files}\n'
    hostile.write(base, hostile.skill())
    changed = [".github/ci.yml", ".github/new.yml", ".gitlab-ci.yml", ".vscode/settings.json"]
    refused = [".github/perstack.toml", ".vscode/tasks.json", ".npmrc"]
    shell = "echo x > .vscode/tasks.json; echo x > .github/perstack.toml; cat .npmrc .env; echo end"
    steps = [
        [
            *(Call("writeTextFile", {"path": name, "text": "changed"}) for name in (*changed, *refused)),
            Call("readTextFile", {"path": ".env"}),
            Call("readTextFile", {"path": ".npmrc"}),
            Call("exec", {"command": "sh", "args": ["-c", shell]}),
        ],
        [
            Call("writeTextFile", {"path": ".env", "text": secret_is}),
            Call("writeTextFile", {"path": ".buildkite/made.yml", "text": "changed"}),
        ],
        [python(f"result = [open(f'/workspace/{{name}}').read() for name in {['.env', *changed]!r}]"), tried(changed)],
    ]
    with ModelServer([*(Turn(calls=calls) for calls in steps), Turn(text="done")]) as server:
        result = hostile.project.perstack(*hostile.args(), server=server, env=hostile.all_env, timeout=SECONDS)
    assert result.exit_code == 0, result.stderr
    said = [str(text) for text in result.values("resolveToolResults", "toolResults", "*", "result", "*", "text")]
    assert [secrets_were in text for text in said[:10]] == [False] * 7 + [True, False, True], said
    assert ["Denied" in text for text in said[:9]] == [False] * 4 + [True] * 3 + [False, True], said
    assert said[9].count(secrets_were) == 1, "what it starts reads what is opened, and .npmrc empty"
    other, writes = json.loads(said[12]), json.loads(said[13])
    assert other == ["", *["changed"] * 4], "the other skill sees the secret empty, also when it is new"
    assert writes == {f"/workspace/{name}": [] for name in changed}, "and cannot change what the first one may"
    for name in changed:
        assert (hostile.workspace / name).read_text() == "changed", name
    for name in refused:
        assert (hostile.workspace / name).read_text() == there[name], name
    assert (hostile.workspace / ".env").read_text() == secret_is
    assert not (hostile.workspace / ".buildkite").exists(), "the other skill could have made it too"


def test_AF9_what_a_policy_opens_is_brought_back_from_a_copy_whose_other_skills_could_not_change_it(hostile) -> None:
    there = [".github/ci.yml", ".vscode/tasks.json"]
    for name in there:
        (hostile.workspace / name).parent.mkdir()
        (hostile.workspace / name).write_text("as it was")
    files = 'files = { writable = [".github/**", ".gitlab/**"] }'
    base = f'[experts.box.skills."@perstack/base"]\ntype = "mcpStdioSkill"\n{files}\n'
    hostile.write(base, hostile.skill())
    names = [".github/ci.yml", ".github/new.yml", ".gitlab/new.yml", ".vscode/tasks.json"]
    result = hostile.run(
        *(Call("writeTextFile", {"path": name, "text": "changed"}) for name in names), tried([".github/ci.yml"])
    )
    assert result.exit_code == 0, result.stderr
    *_, writes = answers(result)
    assert writes == {"/workspace/.github/ci.yml": []}, "it is masked for the other skill"
    texts = [(hostile.workspace / name).read_text() for name in (*names[:2], names[3])]
    assert texts == ["changed", "changed", "as it was"]
    assert not (hostile.workspace / ".gitlab").exists(), "the other skill could have made it too"


def tried(names: list[str]) -> Call:
    """What of each file can be changed by which means."""
    return python(CHANGE % [f"/workspace/{name}" for name in names])


def test_AF10_secret_files_of_the_workspace_are_seen_empty(hostile) -> None:
    secret = canary()
    names = (".env", ".env.local", ".npmrc", "sub/dir/.env", ".aws/credentials", "deploy/id_rsa", "tls/server.pem")
    for name in (*names, "README.md", ".env.example"):
        path = hostile.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(secret)
    source = "import os\nresult = {}\n" + "".join(
        f"try: result[{name!r}] = open('/workspace/{name}').read()\nexcept OSError as error: result[{name!r}] = ''\n"
        for name in (*names, "README.md", ".env.example")
    )
    for mounted in (False, True):
        if mounted:
            owned(hostile)
        (seen,) = hostile.ask(source)
        assert {name for name in names if seen[name]} == set()
        assert seen["README.md"] == seen[".env.example"] == secret, "the control: other files can be read"
    assert (hostile.workspace / ".env").read_text() == secret, "the host's file is as it was"


def test_AF11_a_workspace_that_is_more_than_a_project_is_refused(hostile, tmp_path) -> None:
    holds = tmp_path / "holds"
    holds.mkdir()
    home = tmp_path / "home"
    (home / "project").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to("/")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(holds / "docker.sock"))
        hostile.env["HOME"] = str(home)
        refused = [
            "/",
            "/etc",
            "/usr/lib",
            "/var",
            "/var/run",
            "/tmp",
            "/root",
            "/proc",
            link,
            holds,
            home,
            home.parent,
        ]
        for place in map(str, refused):
            args = [place if word == str(hostile.workspace) else word for word in hostile.args()]
            done = hostile.project.perstack(*args, env=hostile.all_env)
            holds_the_record = "the workspace, where Experts could change the record" in done.stderr
            assert done.exit_code == (1 if holds_the_record else 5), (place, done.stderr)
            assert holds_the_record or "is not given to a sandbox" in done.stderr
    assert hostile.ask("result = 1") == [1], "the control: a project's directory is given"


@pytest.mark.parametrize("odd", ["with space", "a:b", "comma,ro", 'quo"te', "$HOME", "-v", "..dots"])
def test_AC1_AC5_AF11_odd_names_of_a_workspace_are_names_and_nothing_else(tmp_path, name, odd) -> None:
    from engines import box

    hostile = box(tmp_path, name)
    renamed = hostile.project.directory / odd
    hostile.workspace.rename(renamed)
    hostile.project.workspace = renamed
    (renamed / "marker").write_text("here")
    (seen,) = hostile.ask("result = [open('/workspace/marker').read(), sorted(__import__('os').listdir('/etc'))]")
    assert seen[0] == "here"
    assert "passwd" in seen[1]


def test_AF12_files_belong_to_the_owner_of_the_workspace_and_the_sandbox_runs_as_that_user(hostile) -> None:
    owned(hostile)
    (uid,) = hostile.ask("import os\nresult = os.getuid()\nopen('/workspace/made', 'w').close()")
    assert uid == OWNER
    assert (hostile.workspace / "made").stat().st_uid == OWNER
    control = Path(hostile.workspace / "by-root")
    control.touch()
    assert control.stat().st_uid == os.getuid(), "the control: perstack itself runs as another user"


def test_AF12_a_copied_workspace_brings_changes_back_and_overwrites_nothing_that_changed_meanwhile(hostile) -> None:
    for name in ("edited", "deleted", "both"):
        (hostile.workspace / name).write_text("before")
    (hostile.workspace / "both").chmod(0o600)
    source = """
import os, time
open('/workspace/edited', 'w').write('inside')
os.unlink('/workspace/deleted')
os.makedirs('/workspace/new/deep')
open('/workspace/new/deep/file', 'w').write('inside')
os.symlink('new/deep/file', '/workspace/link')
os.symlink('/etc/passwd', '/workspace/out')
open('/workspace/both', 'w').write('inside')
try:
    os.mkfifo('/workspace/pipe')
except OSError:
    pass  # the filter for system calls refuses it
result = 1
"""
    from perstack.testing.model_server import Call, ModelServer, Turn

    with ModelServer([Turn(calls=[python(source)]), Turn(calls=[Call("hang", {})]), Turn(text="done")]) as server:
        process = hostile.project.start(*hostile.args(), server=server, env=hostile.all_env)
        eventually(lambda: len(server.requests) >= 2, "the first step is done", seconds=120)
        (hostile.workspace / "both").write_text("on the host meanwhile")
        process.terminate()
        process.communicate(timeout=60)
    place = hostile.workspace
    assert (place / "edited").read_text() == "inside"
    assert not (place / "deleted").exists()
    assert (place / "new/deep/file").read_text() == "inside"
    assert (place / "link").read_text() == "inside"
    assert not (place / "pipe").exists()
    assert (place / "both").read_text() == "on the host meanwhile"
    assert not os.path.lexists(place / "out"), "a link that leads out is not brought back"
    (kept,) = (hostile.project.state / "quarantine").iterdir()
    assert (kept / "both").read_text() == "inside", "and nothing is lost"
    assert (kept / "out").is_symlink()
    assert not list((hostile.project.state / "changes").iterdir())
    assert (place / "edited").stat().st_uid == os.getuid()


def test_AC4_an_image_that_only_has_our_name_is_refused(hostile, real) -> None:
    """The image is one that no other test uses: its user is nobody else's."""
    owned(hostile, IMPOSTOR)
    assert hostile.ask("result = 1") == [1], "the control: the real one is started"
    env = {**os.environ, **real.env}
    tag = real.image_of(IMPOSTOR)
    subprocess.run([real.name, "tag", real.base, tag], check=True, env=env, capture_output=True)
    try:
        refused = hostile.run(python("result = 1"))
        assert refused.exit_code == 5
        assert "was not built by perstack" in refused.stderr
    finally:
        subprocess.run([real.name, "rmi", tag], check=True, env=env, capture_output=True)


SETUID = """
import subprocess
result = subprocess.run(["/usr/bin/rootid", "-u"], capture_output=True, text=True).stdout.strip()
"""


def test_P2_a_setuid_program_in_a_skills_own_image_gains_nothing(hostile, real, tmp_path) -> None:
    hostile.ask("result = 1")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {real.image}\nUSER 0\nRUN cp /usr/bin/id /usr/bin/rootid && chmod 4755 /usr/bin/rootid\n"
    )
    tag = f"perstack-test-setuid:{real.name}"
    build = [real.name, "build", "--network=host", "-t", tag, str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True, env={**os.environ, **real.env, "DOCKER_BUILDKIT": "0"})
    hostile.write(hostile.skill(extra=f'image = "{tag}"'))
    result = hostile.run(python(SETUID))
    assert result.exit_code == 0, result.stderr
    assert str(answers(result)[0]) == "10001"
    assert str(real.bare(SETUID, "--user=10001", image=tag)) == "0", "the control: a plain container makes it root"
