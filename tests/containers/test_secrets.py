"""Where secrets are while a sandbox runs: in the skill's environment, and nowhere else that anybody can look."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

import pytest
from engines import answers, python
from perstack.testing.model_server import Call
from perstack.testing.project import MODEL_KEY

pytestmark = pytest.mark.engine

SCAN = """
import os
found, own, opened = [], [], []  # needles are written backwards: perstack takes secrets out of what a model says
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline"):
        try:
            data = open(f"/proc/{pid}/{name}", "rb").read()
        except OSError:
            continue
        for needle in %r:
            if needle[::-1].encode() in data:
                (own if int(pid) == os.getpid() else found).append([int(pid), name, needle[-8:]])
    for name in ("mem", "maps", "fd", "root", "cwd"):
        try:
            if name == "mem":
                os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
            elif name == "maps":
                open(f"/proc/{pid}/maps").read()
            else:
                os.stat(f"/proc/{pid}/{name}/0" if name == "fd" else f"/proc/{pid}/{name}/.")
            opened.append([int(pid), name])
        except OSError:
            pass
result = {"found": found, "own": own, "first": [entry for entry in opened if entry[0] == 1],
          "self": [entry for entry in opened if entry[0] == os.getpid()]}
"""


def canary() -> str:
    return f"canary{secrets.token_hex(16)}"


def test_AS1_AS3_AS4_V6_no_other_process_holds_a_secret_and_the_first_cannot_be_read(hostile) -> None:
    mine, other = canary(), canary()
    hostile.env |= {"MINE": mine, "OTHER": other}
    hostile.write(
        hostile.skill(extra='requiredEnv = ["MINE"]'),
        hostile.skill("second", extra='requiredEnv = ["OTHER"]', pick=["identity"]),
    )
    result = hostile.run(python(SCAN % ([name[::-1] for name in (mine, other, MODEL_KEY)],)), Call("identity", {}))
    assert result.exit_code == 0, result.stderr
    seen, _ = answers(result)
    assert seen["found"] == []
    assert [entry[1] for entry in seen["own"]] == ["environ"], "the control: its own secret is where it belongs"
    assert seen["first"] == []
    assert {name for _, name in seen["self"]} >= {"mem", "maps"}, "the control: its own memory can be opened"


SIGNALS = """
import os, signal, socket, time
for pid in filter(str.isdigit, os.listdir("/proc")):
    for number in range(1, 65):
        if int(pid) != os.getpid() and number != 0:
            try:
                os.kill(int(pid), number)
            except (OSError, ValueError):
                pass
time.sleep(0.2)
listening = []
for port in [*range(1, 10000), 9229, 5678]:
    with socket.socket() as one:
        one.settimeout(0.01)
        if one.connect_ex(("127.0.0.1", port)) == 0:
            listening.append(port)
result = {"listening": listening, "first": os.path.exists("/proc/1")}
"""


def test_AS2_no_signal_ends_the_first_process_or_opens_a_debugger(hostile) -> None:
    seen, again = hostile.ask(SIGNALS, "result = 'alive'")
    assert seen == {"listening": [], "first": True}
    assert again == "alive"


def commands_and_environments(needle: str, *, but: int) -> list[str]:
    """Processes of this machine whose command line or environment holds `needle`, but for one and its forebears."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
        except OSError:
            continue
        if needle.encode() in command:
            found.append(f"{place.name} cmdline {command[:80]!r}")
        if needle.encode() in environment and int(place.name) != but and b"/workspace/probe.py" not in command:
            found.append(f"{place.name} environ {command[:80]!r}")
    return found


def test_AS6_AS7_AC11_no_secret_is_on_a_command_line_in_the_containers_configuration_or_in_its_image(
    hostile, real
) -> None:
    secret = canary()
    hostile.env["WANTED"] = secret
    hostile.write(hostile.skill(extra='requiredEnv = ["WANTED"]'))

    with hostile.running() as process:
        state = real.inspect(hostile.container(process))
        assert commands_and_environments(secret, but=process.pid) == []
        assert secret not in str(state)
        assert MODEL_KEY not in str(state)
        user, group = state["Config"]["User"].split(":")
        assert user.isdecimal()
        assert group.isdecimal()
        probe = [
            place
            for place in Path("/proc").glob("[0-9]*")
            if b"/workspace/probe.py" in read(place / "cmdline") and secret.encode() in read(place / "environ")
        ]
        assert probe, "the control: the skill itself has it"
    history = subprocess.run(
        [real.name, "history", "--no-trunc", state["Image"]], capture_output=True, text=True, check=True
    )
    assert secret not in history.stdout


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_AS5_what_other_processes_of_the_user_hold_cannot_be_read_from_a_sandbox(hostile) -> None:
    secret = canary()
    source = SCAN % ([secret[::-1]],)
    other = subprocess.Popen(["sleep", "600"], env={"HELD": secret})
    try:
        (seen,) = hostile.ask(source)
        assert seen["found"] == []
        assert other.pid not in {entry[0] for entry in seen["found"]}
        control = hostile.local(source)
        assert [other.pid, "environ", secret[0]] in [[*entry[:2], entry[2][-1]] for entry in control["found"]]
    finally:
        other.kill()
        other.wait()
