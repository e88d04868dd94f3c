"""What skills may do with the workspace in each mode, on real engines."""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
import sys

import pytest
from engines import python
from perstack.testing.model_server import Call, ModelServer, Turn, When
from perstack.testing.waiting import eventually

pytestmark = pytest.mark.engine

BASE = '[experts.box.skills."@perstack/base"]\ntype = "mcpStdioSkill"\nworkspaceMode = "{mode}"\n'
WRITES = [
    Call("writeTextFile", {"path": "made", "text": "x"}),
    Call("appendTextFile", {"path": "kept", "text": "x"}),
    Call("editTextFile", {"path": "kept", "oldText": "as it was", "newText": "x"}),
    Call("createDirectory", {"path": "directory"}),
    Call("moveFile", {"source": "moved", "destination": "away"}),
    Call("deleteFile", {"path": "deleted"}),
    Call("exec", {"command": "touch", "args": ["touched"], "env": {}, "cwd": "."}),
]
PROBE = """
import os
def tried(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"
result = [
    tried(lambda: open("/workspace/by-probe", "w").write("x")),
    tried(lambda: os.unlink("/workspace/other")),
    tried(lambda: os.chmod("/workspace/kept", 0o777)),
    open("/workspace/kept").read(),
]
"""


def test_Q11_F2_with_ro_no_tool_can_write_while_another_skill_of_the_run_can(hostile) -> None:
    word = secrets.token_hex(8)
    names = ("kept", "moved", "deleted", "other")

    def run(*, base: str, probe: str, options: tuple[str, ...] = ()) -> tuple[list[bool], object, set[str]]:
        for name in names:
            (hostile.workspace / name).write_text(f"as it was {word}")
        before = {path.name for path in hostile.workspace.iterdir()}
        hostile.write(BASE.format(mode=base), hostile.skill(extra=f'workspaceMode = "{probe}"'))
        result = hostile.run(*WRITES, python(PROBE), options=options)
        assert result.exit_code == 0, result.stderr
        results = result.values("resolveToolResults", "toolResults", "*")
        after = {path.name for path in hostile.workspace.iterdir()}
        texts = [part["text"].lower() for one in results if one.get("isError") for part in one["result"]]
        assert all("read-only" in text for text in texts), "each failure says why"
        return [one.get("isError", False) for one in results], result.tool_results["python"], before ^ after

    failed, probe, changed = run(base="ro", probe="rw")
    assert failed == [True] * 7 + [False]
    assert "done" in str(probe)
    assert changed == {"by-probe", "other"}, "only what the other skill did"
    (hostile.workspace / "by-probe").unlink()
    failed, probe, changed = run(base="rw", probe="ro")
    assert failed == [False] * 8, "the control: with rw the same calls write"
    assert "done" not in str(probe)
    assert word in str(probe), "what is there can be read"
    assert changed == {"made", "directory", "moved", "away", "deleted", "touched"}
    for name in ("made", "touched", "away"):
        (hostile.workspace / name).unlink()
    (hostile.workspace / "directory").rmdir()
    _, probe, changed = run(base="rw", probe="rw", options=("--workspace-mode", "ro"))
    assert "done" not in str(probe)
    assert changed == set(), "the option narrows every skill"


MAKES = """
import os
open("/workspace/edited", "w").write("inside")
os.unlink("/workspace/deleted")
os.rename("/workspace/moved", "/workspace/new-name")
open("/workspace/.envrc", "w").write("owned")
os.symlink("/etc/passwd", "/workspace/out")
result = open("/workspace/kept").read()
"""


APPENDS = """
assert open("/workspace/made").read() == "by lead"
open("/workspace/made", "a").write(", by helper")
result = 1
"""


def settled(hostile, *args: str):
    return hostile.project.perstack("changes", *args, env=hostile.all_env)


def test_AF9_F2_with_overlay_nothing_changes_until_it_is_applied_and_each_change_names_its_call(hostile) -> None:
    for name in ("edited", "deleted", "moved", "kept"):
        (hostile.workspace / name).write_text(f"as it was {name}")
    before = {path.name: path.read_text() for path in hostile.workspace.iterdir()}
    base = Call("writeTextFile", {"path": "by-base", "text": "text of the base skill\n"})
    result = hostile.run(python(MAKES), base, options=("--workspace-mode", "overlay"))
    assert result.exit_code == 0, result.stderr
    assert result.tool_results["python"] == "as it was kept"
    assert {path.name: path.read_text() for path in hostile.workspace.iterdir()} == before, "the host is as it was"
    assert f"kept until you apply or drop them: perstack changes {result.job_id}" in result.stderr
    shown = settled(hostile, result.job_id)
    assert shown.exit_code == 0, shown.stderr
    for line in (
        "modified edited",
        "    -as it was edited",
        "    +inside",
        "deleted deleted",
        "added new-name, renamed from moved",
        "    +text of the base skill",
        "    held back: other programs obey it: an environment file",
        "    held back: the link leads out of the workspace",
    ):
        assert line in shown.stdout, shown.stdout
    assert "probe:python (box, " in shown.stdout
    (hostile.workspace / "deleted").write_text("changed on the host meanwhile")
    applied = settled(hostile, result.job_id, "--apply", "--json")
    assert applied.exit_code == 2, applied.stderr
    assert "as it was" not in (hostile.workspace / "edited").read_text()
    assert (hostile.workspace / "by-base").read_text() == "text of the base skill\n"
    assert (hostile.workspace / "by-base").stat().st_uid == os.getuid()
    assert (hostile.workspace / "new-name").read_text() == "as it was moved"
    assert (hostile.workspace / "deleted").read_text() == "changed on the host meanwhile"
    assert not [name for name in ("moved", ".envrc", "out") if os.path.lexists(hostile.workspace / name)]
    left = {change["path"]: change["verdict"] for change in json.loads(applied.stdout)["left"]}
    assert left == {"deleted": "conflict", ".envrc": "held", "out": "held"}
    assert settled(hostile, result.job_id, "--drop").exit_code == 0
    assert settled(hostile).stdout == "No changes are kept.\n"
    assert hostile.run(python(MAKES.replace("moved", "new-name"))).exit_code == 0
    assert not (hostile.workspace / "deleted").exists(), "the control: with rw the same program changes the host"


def test_an_overlay_is_one_copy_for_all_skills_of_a_job_and_goes_on_with_it(hostile) -> None:
    hostile.write(BASE.format(mode="ro"), hostile.skill())
    write = python("open('/workspace/made', 'w').write('in the copy')\nresult = 1")
    first = hostile.run(write, options=("--workspace-mode", "overlay"))
    assert first.exit_code == 0, first.stderr
    again = ("--continue-job", first.job_id, "--workspace-mode", "overlay")
    read = Call("readTextFile", {"path": "made"})
    second = hostile.run(read, options=again)
    assert "in the copy" in second.tool_results["readTextFile"], "a skill that may only read reads what another made"
    refused = hostile.run(read, options=("--continue-job", first.job_id))
    assert refused.exit_code == 1
    assert "neither applied nor dropped" in refused.stderr
    third = hostile.run(text="done", options=(*again, "--apply"))
    assert third.exit_code == 0, third.stderr
    assert (hostile.workspace / "made").read_text() == "in the copy"
    assert settled(hostile).stdout == "No changes are kept.\n"


def test_AH1_what_a_killed_run_changed_in_a_copy_is_not_lost(hostile) -> None:
    (hostile.workspace / "edited").write_text("as it was")
    write = python("open('/workspace/edited', 'w').write('before the kill')\nresult = 1")
    with hostile.running(write) as process:
        copies = hostile.project.state / "changes"
        eventually(
            lambda: any(path.read_text() == "before the kill" for path in copies.glob("*/workspace/edited")),
            "the copy is changed",
            seconds=120,
        )
        process.kill()
        process.wait()
    assert (hostile.workspace / "edited").read_text() == "as it was"
    (run,) = (path.name for path in copies.iterdir())
    collected = hostile.project.perstack("gc", "--runtime", hostile.engine.name, env=hostile.all_env)
    assert f"Run {run} was killed with 1 change: 1 to apply" in collected.stdout
    after = hostile.run(text="done")
    assert f"See: perstack changes {run}" in after.stderr, "the next start says so as well"
    assert settled(hostile, run, "--apply").exit_code == 0
    assert (hostile.workspace / "edited").read_text() == "before the kill"
    assert settled(hostile).stdout == "No changes are kept.\n"


def test_a_delegate_works_on_the_same_copy_and_is_named_for_what_it_changed(hostile) -> None:
    lead = '[experts.box]\ninstruction = "You are LEAD."\ndelegates = ["helper"]\n'
    helper = '[experts.helper]\ninstruction = "You are HELPER."\n'
    hostile.project.write(f"{lead}{hostile.skill()}{helper}{hostile.skill().replace('experts.box', 'experts.helper')}")
    script = [
        Turn(
            when=When(system="You are LEAD"),
            calls=[python("open('/workspace/made', 'w').write('by lead')\nresult = 1")],
        ),
        Turn(when=When(system="You are LEAD"), calls=[Call("helper", {"query": "go on"})]),
        Turn(when=When(system="You are HELPER"), calls=[python(APPENDS)]),
        Turn(when=When(system="You are HELPER"), text="helped"),
        Turn(when=When(system="You are LEAD"), calls=[python("result = open('/workspace/made').read()")]),
        Turn(when=When(system="You are LEAD"), text="done"),
    ]
    with ModelServer(script) as server:
        args = hostile.args("--workspace-mode", "overlay")
        result = hostile.project.perstack(*args, server=server, env=hostile.all_env, timeout=300)
    assert result.exit_code == 0, result.stderr
    assert result.tool_results["python"] == "by lead, by helper"
    assert not (hostile.workspace / "made").exists()
    (change,) = json.loads(settled(hostile, result.job_id, "--json").stdout)["changes"]
    assert [call["expert"] for call in change["calls"]] == ["box", "helper"]


TAKES_THE_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, "
    "[sys.executable, '-m', 'perstack', *sys.argv[1:]])"
)


def test_AF9_at_a_terminal_the_changes_are_shown_and_applied_only_when_the_person_says_so(hostile) -> None:
    word = secrets.token_hex(8)
    write = python(f"open('/workspace/made', 'w').write('{word}\\\\x1b[2J')\nresult = 1")

    def at_terminal(answer: str) -> str:
        ours, theirs = os.openpty()
        turns = [Turn(calls=[write]), Turn(text="done")]
        with ModelServer(turns) as server:
            command = [sys.executable, "-c", TAKES_THE_TERMINAL, *hostile.args("--workspace-mode", "overlay")]
            env = hostile.project.environment(server, hostile.all_env)
            process = subprocess.Popen(
                command, cwd=hostile.project.directory, env=env, stdin=theirs, stdout=theirs, stderr=theirs
            )
            os.close(theirs)
            said, answered = b"", False
            while select.select([ours], [], [], 120)[0]:
                try:
                    said += os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
                if not answered and b"Apply them?" in said:
                    answered = True
                    os.write(ours, f"{answer}\n".encode())
            assert process.wait(60) == 0, said
        os.close(ours)
        return said.decode("utf-8", "replace")

    said = at_terminal("no")
    assert f"+{word}\\x1b[2J" in said, "the lines are shown, and what a terminal would obey is not"
    assert "1 change: 1 to apply; kept until" in said
    assert not (hostile.workspace / "made").exists()
    assert "Applied 1 change" in at_terminal("yes")
    assert (hostile.workspace / "made").read_text().startswith(word)
