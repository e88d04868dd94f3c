"""Entries that become links while a tool works: the outside is never read, changed or described.

A process exchanges an entry with a link to the outside, as fast as it can, and counts in shared memory, so that the
exchanges that land during a call are known. `RACE_SWAPS` is how many must; `make soak` asks for 100,000.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import subprocess
import sys
import time

import pytest

SWAPS = int(os.environ.get("RACE_SWAPS", "2000"))
LEAST = 1_000
ROUNDS = max(40, SWAPS // 100)
"""Of calls: each is one chance to meet a swap at its worst moment, however many swaps it meets."""
SECONDS = max(120.0, SWAPS / 50)

SWAPPER = """
import ctypes, mmap, os, sys
handle, shared = os.open(sys.argv[1], os.O_RDONLY), mmap.mmap(int(sys.argv[2]), 8)
exchange, pairs = ctypes.CDLL(None, use_errno=True).renameat2, [word.encode().split(b"|") for word in sys.argv[3:]]
count = ctypes.c_uint64.from_buffer(shared)
while True:
    for one, other in pairs:
        if exchange(handle, one, handle, other, 2):
            sys.exit(os.strerror(ctypes.get_errno()))
        count.value += 1
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="renameat2 exchanges in one step")


@pytest.fixture
def server(either_way):
    return either_way


@pytest.fixture
def swapping(tmp_path):
    """Exchanges pairs of names in a folder until the test ends; returns a function of the exchanges so far."""
    with contextlib.ExitStack() as stack:

        def start(folder, *pairs):
            shared = stack.enter_context((tmp_path / "count").open("w+b"))
            shared.truncate(8)
            memory = mmap.mmap(shared.fileno(), 8)
            words = [sys.executable, "-c", SWAPPER, str(folder), str(shared.fileno()), *map("|".join, pairs)]
            process = subprocess.Popen(words, pass_fds=[shared.fileno()])
            stack.callback(process.wait)
            stack.callback(process.kill)
            count = ctypes.c_uint64.from_buffer(memory)
            return lambda: count.value

        yield start


def harried(server, outside, count, calls, inside, met):
    """Makes the calls again and again, until `met` holds of the answers of each; returns the swaps that landed."""
    outcomes = {number: set() for number in range(len(calls))}
    landed, rounds, deadline = 0, 0, time.monotonic() + SECONDS
    told = str(outside.file.stat().st_size)
    while time.monotonic() < deadline and (min(landed / SWAPS, rounds / ROUNDS) < 1 or not met(outcomes)):
        rounds += 1
        for number, (tool, arguments) in enumerate(calls):
            before = count()
            result = server.call(tool, **arguments)
            landed += count() - before
            outcomes[number].add(result.data.get("error"))
            assert outside.canary not in repr(result.wire)
            assert f"'size': {told}," not in repr(result.wire), "the outside was looked at"
            inside()
    assert landed >= LEAST, f"only {landed} swaps landed during a call"
    assert outside.untouched()
    assert met(outcomes), outcomes
    return landed


def both_were_met(outcomes):
    """The entry was found as it should be, and as a link: the positive control and the attack."""
    return all({None, "AccessDenied"} <= seen for seen in outcomes.values())


@pytest.fixture
def large(outside):
    """The outside file has a size that nothing inside has."""
    outside.file.write_text(outside.canary + "x" * 7_919)
    outside.canary = outside.file.read_text()
    outside.settle()
    return outside


def test_O2_AF4_a_file_that_becomes_a_link_is_not_followed(server, workspace, large, swapping, record_property):
    (workspace / "f").write_text("own")
    (workspace / "link").symlink_to(large.file)
    count = swapping(workspace, ("f", "link"))
    calls = [
        ("readTextFile", {"path": "f"}),
        ("appendTextFile", {"path": "f", "text": ""}),
        ("searchFiles", {"path": "f", "pattern": "canary"}),
    ]
    landed = harried(server, large, count, calls[:2], lambda: None, both_were_met)
    record_property("swaps", landed)
    for _ in range(20):
        assert large.canary[:40] not in repr(server.call(calls[2][0], **calls[2][1]).wire)


def test_O5_AF4_a_parent_that_becomes_a_link_is_not_entered(server, workspace, large, swapping, record_property):
    (workspace / "d/sub").mkdir(parents=True)
    (workspace / "link").symlink_to(large.path)
    (workspace / "d/secret.txt").write_text("own")
    count = swapping(workspace, ("d", "link"))

    def restored():
        for folder in ("d", "link"):  # whichever it is now; links are not followed here either
            with contextlib.suppress(OSError):
                handle = os.open(workspace / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                with contextlib.suppress(OSError):
                    os.close(os.open("secret.txt", os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, dir_fd=handle))
                os.close(handle)

    calls = [
        ("writeTextFile", {"path": "d/secret.txt", "text": "pwned"}),
        ("readTextFile", {"path": "d/secret.txt"}),
        ("getFileInfo", {"path": "d/secret.txt"}),
        ("deleteFile", {"path": "d/secret.txt"}),
        ("createDirectory", {"path": "d/a/b"}),
        ("deleteDirectory", {"path": "d/a", "recursive": True}),
        ("listDirectory", {"path": "d"}),
        ("exec", {"command": "cat", "args": ["secret.txt"], "cwd": "d"}),
    ]
    landed = harried(
        server,
        large,
        count,
        calls,
        restored,
        lambda seen: both_were_met({number: seen[number] for number in (0, 1, 2, 6)}),
    )
    record_property("swaps", landed)
    assert [entry.name for entry in large.path.iterdir()] == ["secret.txt"]


def test_O5_AF4_a_move_lands_in_the_workspace_however_its_ends_are_swapped(
    server, workspace, large, swapping, record_property
):
    for name in ("from", "to"):
        (workspace / name).mkdir()
        (workspace / f"{name}-link").symlink_to(large.path)
    count = swapping(workspace, ("from", "from-link"), ("to", "to-link"))

    def restored():
        with contextlib.suppress(OSError):
            handle = os.open(workspace / "from", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            with contextlib.suppress(OSError):
                os.close(os.open("own", os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, dir_fd=handle))
            os.close(handle)

    calls = [
        ("moveFile", {"source": "from/own", "destination": "to/got"}),
        ("moveFile", {"source": "from/secret.txt", "destination": "to/stolen"}),
        ("deleteFile", {"path": "to/got"}),
        ("searchFiles", {"pattern": "canary", "hidden": True}),
    ]
    landed = harried(
        server, large, count, calls[:3], restored, lambda seen: None in seen[0] and "AccessDenied" in seen[0] & seen[1]
    )
    record_property("swaps", landed)
    assert not list(workspace.rglob("stolen"))
    for _ in range(20):
        assert large.canary[:40] not in repr(server.call(calls[3][0], **calls[3][1]).wire)
    assert large.untouched()
