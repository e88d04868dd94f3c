"""What skills may do with the workspace in each mode, on real engines."""

from __future__ import annotations

import secrets

import pytest
from engines import python
from perstack.testing.model_server import Call

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
