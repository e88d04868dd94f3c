"""What a sandbox may use up, and that its neighbours and the host do not notice."""

from __future__ import annotations

import time

import pytest
from engines import answers, python
from perstack.testing.model_server import Call, ModelServer, Turn

pytestmark = pytest.mark.engine

ALLOCATE = "data = bytearray(%d)\nfor place in range(0, len(data), 4096):\n    data[place] = 1\nresult = len(data)"
MIB = 1024 * 1024


def test_L1_AX7_memory_over_the_limit_ends_the_skill_and_nothing_else(hostile) -> None:
    hostile.write(hostile.skill(extra='limits = { memory = "128MiB" }'), hostile.skill("second", pick=["identity"]))
    result = hostile.run(python(ALLOCATE % (32 * MIB)), python(ALLOCATE % (512 * MIB)), Call("identity", {}))
    assert result.exit_code == 0, result.stderr
    small, large, neighbour = answers(result)
    assert small == 32 * MIB, "the control: less than the limit is given"
    assert large != 512 * MIB
    assert neighbour["pid"] > 1
    told = [str(event.get("message")) for event in result.of("dockerContainerStatus", "skillStderr")]
    assert [message for message in told if "out of memory" in message]


def test_L2_C7_the_limits_of_the_requirement_are_the_containers(hostile, real) -> None:
    with hostile.running() as process:
        host = real.inspect(hostile.container(process))["HostConfig"]
    assert host["Memory"] == 2048 * MIB
    assert host["MemorySwap"] == 2048 * MIB
    assert host["MemoryReservation"] == 256 * MIB
    assert host["PidsLimit"] == 256
    assert host["NanoCpus"] == 2_000_000_000 or host["CpuQuota"] / host["CpuPeriod"] == 2


GROUP = """
import os
def read(*names):
    for name in names:
        try:
            return open("/sys/fs/cgroup/" + name).read().split()[0]
        except OSError:
            pass
result = {"memory": read("memory.max", "memory/memory.limit_in_bytes"),
          "both": read("memory/memory.memsw.limit_in_bytes"), "swap": read("memory.swap.max"),
          "pids": read("pids.max", "pids/pids.max")}
"""


def test_L1_AX13_the_kernel_itself_shows_the_limits_inside_and_no_swap_on_top(hostile) -> None:
    (seen,) = hostile.ask(GROUP)
    assert int(seen["memory"]) == 2048 * MIB
    assert seen["swap"] == "0" or int(seen["both"]) == 2048 * MIB
    assert int(seen["pids"]) == 256


BUSY = """
import multiprocessing, os, resource, time
def spin():
    until = time.monotonic() + 2
    while time.monotonic() < until:
        pass
start = time.monotonic()
workers = [multiprocessing.get_context("fork").Process(target=spin) for _ in range(8)]
[worker.start() for worker in workers]; [worker.join() for worker in workers]
used = resource.getrusage(resource.RUSAGE_CHILDREN)
result = (used.ru_utime + used.ru_stime) / (time.monotonic() - start)
"""


def test_L3_processors_are_limited_however_many_processes_spin(hostile) -> None:
    hostile.write(hostile.skill(extra="limits = { cpus = 0.2 }"))
    (cores,) = hostile.ask(BUSY)
    assert cores <= 0.3
    hostile.write()
    freer = max(hostile.ask(*[BUSY] * 3))
    assert freer > 0.3, "the control: with two processors the same program uses more"


FORKS = """
import os, signal, time
children = []
try:
    while len(children) < 1000:
        pid = os.fork()
        if pid == 0:
            time.sleep(60); os._exit(0)
        children.append(pid)
    error = 0
except OSError as failure:
    error = failure.errno
for pid in children:
    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
result = {"children": len(children), "errno": error}
"""
EAGAIN = 11


def test_L4_L5_AX7_a_fork_bomb_stops_at_the_limit_and_a_neighbour_still_answers(hostile) -> None:
    hostile.write(hostile.skill(extra="limits = { pids = 64 }"), hostile.skill("second", pick=["identity"]))
    result = hostile.run(python(FORKS), Call("identity", {}))
    assert result.exit_code == 0, result.stderr
    bomb, neighbour = answers(result)
    assert bomb["errno"] == EAGAIN
    assert 40 < bomb["children"] < 64
    assert neighbour["pid"] > 1


def test_AX5_a_flood_of_what_is_no_message_is_dropped_and_the_run_goes_on(hostile) -> None:
    flood = Call("raw", {"text": "x" * (MIB - 1) + "\n", "times": 64})
    result = hostile.run(flood, python("result = 'still here'"))
    assert result.exit_code == 0, result.stderr
    assert answers(result)[1] == "still here"
    assert result.of("skillViolation"), "the control: the flood arrived"
    assert len(result.stdout) < 10 * MIB


INODES = """
import os
count, limit = 0, %d
for number in range(limit):
    open(f"/tmp/{number}", "w").close()
    count += 1
result = count
"""
DISK = """
result = 0
try:
    with open("/workspace/large", "wb") as file:
        file.truncate(8 * 1024**3)
    result = 8
except OSError as error:
    result = error.strerror
"""
FILES = 100_000
NOISE = 64


def test_L5_what_one_skill_uses_up_costs_neither_the_host_nor_its_neighbour(hostile, real) -> None:
    """Inodes, a huge file, noise without end: each stops at a limit, and the neighbour answers after all of it."""
    small = 'limits = { memory = "64MiB", pids = 32, cpus = 0.5 }'
    hostile.write(hostile.skill(extra=small), hostile.skill("second", pick=["identity"]))
    noise = Call("stderr", {"text": "x" * MIB, "times": NOISE})
    turns = [Turn(calls=[python(DISK)]), Turn(calls=[noise]), Turn(calls=[python(INODES % FILES)])]
    with ModelServer([*turns, Turn(calls=[Call("identity", {})]), Turn(text="done")]) as server:
        result = hostile.project.perstack(*hostile.args(), server=server, env=hostile.all_env, timeout=300)
    assert result.exit_code == 0, result.stderr
    disk, _, inodes, neighbour = answers(result)
    assert disk == "File too large"
    assert inodes != FILES
    assert neighbour["pid"] > 1
    assert len(result.stdout) + len(result.stderr) < 4 * MIB, "noise is cut"
    assert real.bare(INODES % FILES, "--user=0") == FILES, "the control: without a limit it makes them all"


def test_AX9_time_is_limited_for_a_call_and_for_the_run_and_the_sandboxes_end_with_it(hostile, real) -> None:
    hostile.write(hostile.skill(extra="timeout = 2000"))
    result = hostile.run(python("result = 'in time'"), Call("hang", {}))
    assert result.exit_code == 0, result.stderr
    early, late = answers(result)
    assert "did not answer within 2 s" in str(late)
    assert early == "in time", "the control: a call that ends in time has a result"
    hostile.write()
    with ModelServer([Turn(calls=[Call("hang", {})]), Turn(text="never")]) as server:
        words = hostile.args("--max-duration", "4000")
        started = time.monotonic()
        process = hostile.project.start(*words, server=server, env=hostile.all_env)
        process.communicate(timeout=120)
        assert len(server.requests) == 1, "the control: the call was made, and was still going"
    assert process.returncode == 3
    assert time.monotonic() - started < 60
    assert real.containers(process.pid) == []
