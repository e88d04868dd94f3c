"""What every runtime must do, as checks that its author runs: ``await CHECKS[id](kit)`` returns, or raises.

Each check is an async function whose docstring says what holds. They need a Python inside the sandbox and nothing
else: no test framework, no network, no other plugin. A check of a control is for runtimes that claim it (`CLAIMED`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

import anyio

from perstack.errors import SandboxUnavailable
from perstack.skill_policy import CONTROLS, Control
from perstack.testing.checks_controls import CONTROL_CHECKS
from perstack.testing.runtime_kit import Check, RuntimeKit, output
from perstack.testing.waiting import eventually_async

__all__ = ["CHECKS", "CLAIMED", "RuntimeKit"]

TEN_MIB = 10 * 1024 * 1024
HEARTBEAT_SECONDS = 0.02


# --- the spec and the claims -----------------------------------------------------------------------------------------


async def spec_is_valid(kit: RuntimeKit) -> None:
    """The spec has a name, a summary of one line, and claims only controls that exist."""
    assert kit.spec.name
    assert kit.spec.summary
    assert "\n" not in kit.spec.summary
    assert kit.spec.claims <= set(CONTROLS)


async def preflight_says_what_to_do(kit: RuntimeKit) -> None:
    """Preflight is ready, or each of its problems has a hint."""
    preflight = await kit.runtime.preflight()
    assert all(problem.hint for problem in preflight.problems)
    assert preflight.ok, "; ".join(f"{problem} {problem.hint}" for problem in preflight.problems)


async def enforced_is_what_is_claimed(kit: RuntimeKit) -> None:
    """A sandbox enforces what the spec claims, or says that it does not: never more than was claimed."""
    async with kit.runtime.open(kit.program("")) as sandbox:
        assert sandbox.enforced <= kit.spec.claims
        assert sandbox.id


# --- processes -------------------------------------------------------------------------------------------------------


async def no_shell_reads_arguments(kit: RuntimeKit) -> None:
    """Arguments arrive as they are."""
    arguments = ["$(id)", "`id`", "a;b|c&&d", 'quo"te', "it's", "new\nline", "*", "~", "", "--flag=x y", "ü"]
    source = "import json, sys; print(json.dumps(sys.argv[1:]))"
    async with kit.started(kit.program(source, *arguments)) as (_, process):
        assert json.loads(await output(process)) == arguments


async def a_nonzero_exit_is_a_result(kit: RuntimeKit) -> None:
    """The exit code comes back; it is no exception."""
    async with kit.started(kit.program("import sys; sys.exit(7)")) as (_, process):
        assert await process.wait() == 7
        assert await process.wait() == 7


async def a_missing_command_is_unavailable(kit: RuntimeKit) -> None:
    """A command that is not there is an error that names it."""
    message = ""
    try:
        async with kit.started(kit.request("no-such-command-here")):
            pass
    except SandboxUnavailable as error:
        message = str(error)
    assert "no-such-command-here" in message


async def the_workspace_is_the_working_directory(kit: RuntimeKit) -> None:
    """A process starts in the workspace."""
    marker = "contract-marker"
    (kit.workspace / marker).write_text("")
    async with kit.started(kit.program("import os; print(sorted(os.listdir()))")) as (_, process):
        assert marker in (await output(process)).decode()


# --- streams ---------------------------------------------------------------------------------------------------------


async def bytes_pass_unchanged(kit: RuntimeKit) -> None:
    """Every byte value passes both ways."""
    data = bytes(range(256)) * 16
    source = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read(4096)); sys.stdout.flush()"
    async with kit.started(kit.program(source)) as (_, process):
        await process.send(data)
        assert await output(process) == data


async def ten_mib_pass_without_deadlock(kit: RuntimeKit) -> None:
    """Ten MiB go in while ten MiB come out."""
    source = (
        "import sys\nleft = 10 * 1024 * 1024\nwhile left:\n    data = sys.stdin.buffer.read1(65536)\n"
        "    left -= len(data)\n    sys.stdout.buffer.write(data)\nsys.stdout.flush()"
    )
    async with kit.started(kit.program(source)) as (_, process), anyio.create_task_group() as tasks:
        tasks.start_soon(process.send, b"x" * TEN_MIB)
        assert len(await output(process)) == TEN_MIB


async def standard_error_is_separate(kit: RuntimeKit) -> None:
    """What is written to standard error does not show up in standard output."""
    async with kit.started(kit.program("import sys; print('out'); print('err', file=sys.stderr)")) as (_, process):
        assert (await output(process)).strip() == b"out"
        assert b"err" in await process.receive_stderr()


async def a_gone_process_is_unavailable(kit: RuntimeKit) -> None:
    """Sending to a process that has ended fails, at the latest after its pipe is full."""
    async with kit.started(kit.program("")) as (_, process):
        await process.wait()
        try:
            for _ in range(100):
                await process.send(b"x" * 65536)
        except SandboxUnavailable:
            return
        raise AssertionError("a process that has ended took six MiB")


# --- the end ---------------------------------------------------------------------------------------------------------

FAMILY = """
import subprocess, sys, time
child = "import time\\nwhile True: open(%r, 'a').write('x'); time.sleep(0.01)"
deaf = "import signal; signal.signal(15, signal.SIG_IGN)\\n"
quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
subprocess.Popen([sys.executable, "-c", deaf + child % "stubborn"], **quiet)
subprocess.Popen([sys.executable, "-c", child % "session"], start_new_session=True, **quiet)
grandparent = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True)"
subprocess.run([sys.executable, "-c", grandparent, child % "orphan"], **quiet)
print("up", flush=True)
time.sleep(600)
"""
MEMBERS = ("stubborn", "session", "orphan")


async def closing_ends_the_whole_tree(kit: RuntimeKit) -> None:
    """Nothing runs after the context: no child that ignores SIGTERM, no other session, no orphan."""
    async with kit.started(kit.program(FAMILY)) as (_, process):
        assert (await process.receive()).strip() == b"up"
        await eventually_async(lambda: all(_size(kit, name) > 0 for name in MEMBERS), "the whole tree runs")
    await _all_silent(kit)


async def cancelling_ends_the_whole_tree(kit: RuntimeKit) -> None:
    """Cancellation leaves nothing running."""
    with anyio.CancelScope() as scope:
        async with kit.started(kit.program(FAMILY)) as (_, process):
            await process.receive()
            await eventually_async(lambda: all(_size(kit, name) > 0 for name in MEMBERS), "the whole tree runs")
            scope.cancel()
            await anyio.sleep_forever()
    await _all_silent(kit)


async def terminating_again_is_harmless(kit: RuntimeKit) -> None:
    """A process can be ended twice, and once more when its context closes."""
    async with kit.started(kit.program("import time; time.sleep(600)")) as (_, process):
        await process.terminate(grace=0.1)
        await process.terminate(grace=0.1)
        assert await process.wait() != 0


async def two_sandboxes_are_separate(kit: RuntimeKit) -> None:
    """Two sandboxes of one run have names of their own, and one ends without the other."""
    source = "import sys; print('up', flush=True); sys.stdin.read(1); print('bye', flush=True)"
    async with kit.started(kit.program(source)) as (one, stays):
        async with kit.started(kit.program(source, skill="other")) as (other, goes):
            assert one.id != other.id
            assert (await goes.receive()).strip() == b"up"
        assert (await stays.receive()).strip() == b"up"
        await stays.send(b"x")
        assert (await output(stays)).strip() == b"bye"


async def _all_silent(kit: RuntimeKit) -> None:
    """The heartbeats of the family have stopped."""
    before = [_size(kit, name) for name in MEMBERS]
    await anyio.sleep(10 * HEARTBEAT_SECONDS)
    assert [_size(kit, name) for name in MEMBERS] == before, "something still runs"


def _size(kit: RuntimeKit, name: str) -> int:
    path = kit.workspace / name
    return path.stat().st_size if path.exists() else 0


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "spec:valid": spec_is_valid,
        "preflight:says-what-to-do": preflight_says_what_to_do,
        "claim:enforced-matches-declared": enforced_is_what_is_claimed,
        "argv:no-shell": no_shell_reads_arguments,
        "exit:nonzero-is-result": a_nonzero_exit_is_a_result,
        "exec:missing-is-unavailable": a_missing_command_is_unavailable,
        "process:starts-in-workspace": the_workspace_is_the_working_directory,
        "process:kill-tree": closing_ends_the_whole_tree,
        "close:on-cancel": cancelling_ends_the_whole_tree,
        "close:idempotent": terminating_again_is_harmless,
        "open:two-are-separate": two_sandboxes_are_separate,
        "io:binary": bytes_pass_unchanged,
        "io:10-mib-no-deadlock": ten_mib_pass_without_deadlock,
        "io:stderr-separate": standard_error_is_separate,
        "sandbox:gone-is-unavailable": a_gone_process_is_unavailable,
        **{name: check for name, (_, check) in CONTROL_CHECKS.items()},
    }
)
"""Every check by its id."""

CLAIMED: Mapping[str, Control] = MappingProxyType({name: control for name, (control, _) in CONTROL_CHECKS.items()})
"""Checks that hold only for runtimes that claim a control, and prove it."""
