"""Each control of the runtime comparison, tried from inside: a program attacks, and beside it runs where it is free.

A check is for runtimes that claim its control. What it shows is behaviour, never what a runtime or an engine says.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from types import MappingProxyType

import anyio
from perstack_proxy.limits import MIB

from perstack.ids import new_id
from perstack.skill_policy import Control, Limits
from perstack.testing.runtime_kit import Check, RuntimeKit, output

PUBLIC = (("198.51.100.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""Addresses that belong to nobody: they are asked a route for, and nothing is sent there."""
CPU_TOLERANCE = 1.5


async def inside(kit: RuntimeKit, source: str, *args: str, limits: Limits | None = None) -> list[object]:
    """What a program prints in a sandbox, one JSON value a line; it may end at any line."""
    async with kit.started(kit.program(f"import json\n{source}", *args, limits=limits)) as (_, process):
        return [json.loads(line) for line in (await output(process)).splitlines()]


async def outside(source: str, *args: str) -> list[object]:
    """What the same program prints without a sandbox: the control of the experiment."""
    done = await anyio.run_process([sys.executable, "-c", f"import json\n{source}", *args])
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- the network -----------------------------------------------------------------------------------------------------

ROUTES = """
import socket, sys
reached = []
for address, family in json.loads(sys.argv[1]):
    try:
        socket.socket(family, socket.SOCK_DGRAM).connect((address, 9))
        reached.append(address)
    except OSError:
        pass
print(json.dumps(reached))
"""


async def there_is_no_way_to_public_addresses(kit: RuntimeKit) -> None:
    """A skill that may reach no domain has no route to any public address."""
    assert await inside(kit, ROUTES, json.dumps(PUBLIC)) == [[]]
    local = json.dumps([("127.0.0.1", socket.AF_INET)])
    assert await outside(ROUTES, local) == [["127.0.0.1"]], "the control: where there is a route it is found"


SERVICES = """
import socket, sys
reached = []
for address, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((address, port), timeout=2).close()
        reached.append(address)
    except OSError:
        pass
print(json.dumps(reached))
"""


async def services_of_the_host_do_not_answer(kit: RuntimeKit) -> None:
    """No service of the host can be reached, by whichever of its addresses."""
    with socket.create_server(("0.0.0.0", 0)) as service:  # noqa: S104 - each of the host's addresses is tried
        port = service.getsockname()[1]
        addresses = json.dumps([(address, port) for address in sorted(_own_addresses())])
        assert await inside(kit, SERVICES, addresses) == [[]]
        [reached] = await outside(SERVICES, addresses)
    assert reached, "the control: without a sandbox it answers"


def _own_addresses() -> set[str]:
    """Addresses of this machine; the way to a public one shows the address that it has there."""
    found = {"127.0.0.1"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect((PUBLIC[0][0], 9))
            found.add(str(one.getsockname()[0]))
        except OSError:
            pass
    return found


# --- files, rights and the environment -------------------------------------------------------------------------------

SEARCH = """
import os, sys
canary, found = sys.argv[1], []
for start in sys.argv[2:]:
    for directory, directories, files in os.walk(start):
        if directory in ("/proc", "/sys", "/dev"):
            directories.clear()
        found += [os.path.join(directory, name) for name in files if name == canary]
print(json.dumps(bool(found)))
"""


async def files_of_the_host_are_not_there(kit: RuntimeKit) -> None:
    """A file beside the workspace is not found in any directory, nor through the first process's root."""
    canary = f"canary-{new_id()}"
    place = kit.workspace.parent / canary
    place.write_text("a file of the host")
    place.chmod(0o644)
    try:
        assert await inside(kit, SEARCH, canary, "/", "/proc/1/root", str(kit.workspace.parent)) == [False]
        assert await outside(SEARCH, canary, str(kit.workspace.parent)) == [True], "the control: the host finds it"
    finally:
        place.unlink()


CAPABILITIES = """
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
print(json.dumps([[int(status[name], 16) for name in names], int(status["NoNewPrivs"])]))
"""


async def no_capability_is_left(kit: RuntimeKit) -> None:
    """All five sets of capabilities are empty, and no program can add to them."""
    assert await inside(kit, CAPABILITIES) == [[[0] * 5, 1]]
    assert await outside(CAPABILITIES) != [[[0] * 5, 1]], "the control: an ordinary process has a bounding set"


IDENTITY = """
import os
try:
    os.setuid(0)
    became = True
except OSError:
    became = False
print(json.dumps([0 in {*os.getresuid(), *os.getresgid(), *os.getgroups()}, became]))
"""


async def the_user_is_not_root(kit: RuntimeKit) -> None:
    """A skill is neither root nor in root's group, and cannot become root."""
    assert await inside(kit, IDENTITY) == [[False, False]]
    if os.getuid() == 0:
        assert await outside(IDENTITY) == [[True, True]], "the control: who asks is root"


ROOT_FILES = """
import os
result = []
for place in ("/", "/etc", "/usr", "/var", "/opt"):
    try:
        open(os.path.join(place, "check-of-perstack"), "w").close()
        result.append(place)
    except OSError:
        if not os.statvfs(place).f_flag & os.ST_RDONLY:
            result.append(place)
open("check-of-perstack", "w").close()
print(json.dumps(result))
"""


async def the_root_file_system_is_read_only(kit: RuntimeKit) -> None:
    """The file system of programs and settings is read-only for everybody; the workspace is not."""
    assert await inside(kit, ROOT_FILES) == [[]]
    assert (kit.workspace / "check-of-perstack").exists(), "the control: where writing is allowed the program writes"


async def the_environment_is_exactly_the_decided_one(kit: RuntimeKit) -> None:
    """A process sees the given variables with their values, and no other variable of the host."""
    canary = {**kit.env, "CANARY": 'value with = "quotes"\nand lines', "EMPTY": ""}
    source = "import json, os; print(json.dumps(dict(os.environ)))"
    async with kit.started(kit.program(source, env=canary)) as (_, process):
        seen = json.loads(await output(process))
    assert {name: seen.get(name) for name in canary} == canary
    leaked = {name for name in seen if name not in canary and name in os.environ and seen[name] == os.environ[name]}
    assert leaked <= {"PATH", "HOME", "LC_CTYPE"}, leaked


# --- limits ----------------------------------------------------------------------------------------------------------

ALLOCATE = """
import sys
for size in map(int, sys.argv[1:]):
    data = bytearray(size)
    for place in range(0, size, 4096):
        data[place] = 1
    print(json.dumps(size), flush=True)
    del data
"""


async def memory_is_limited(kit: RuntimeKit) -> None:
    """A skill that takes more memory than its limit does not get it; what is below the limit it gets."""
    sizes = [32 * MIB, 256 * MIB]
    limits = Limits(memory=128 * MIB, memory_reserved=32 * MIB)
    assert await inside(kit, ALLOCATE, *map(str, sizes), limits=limits) == sizes[:1]
    assert await outside(ALLOCATE, *map(str, sizes)) == sizes, "the control: without a limit it gets both"


SWAP = """
import sys
def read(*names):
    for name in names:
        try:
            return open("/sys/fs/cgroup/" + name).read().strip()
        except OSError:
            pass
print(json.dumps(read("memory.swap.max") == "0" or read("memory/memory.memsw.limit_in_bytes") == sys.argv[1]))
"""


async def swap_does_not_add_to_memory(kit: RuntimeKit) -> None:
    """The kernel grants no swap on top of the limit of memory."""
    limits = Limits(memory=128 * MIB, memory_reserved=32 * MIB)
    assert await inside(kit, SWAP, str(limits.memory), limits=limits) == [True]
    assert await outside(SWAP, str(limits.memory)) == [False], "the control: without a limit there is none to see"


BUSY = """
import os, time
started = time.monotonic()
children = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        while time.monotonic() < started + 1:
            pass
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
used = os.times()
print(json.dumps((used.children_user + used.children_system) / (time.monotonic() - started)))
"""


async def processors_are_limited(kit: RuntimeKit) -> None:
    """Processes that spin get no more of the processors together than the limit."""
    [used] = await inside(kit, BUSY, limits=Limits(cpus=0.2))
    assert isinstance(used, float)
    assert used <= 0.2 * CPU_TOLERANCE
    [free] = await outside(BUSY)
    assert isinstance(free, float)
    assert free > used, "the control: without a limit the same program gets more"


FORKS = """
import os, signal, sys, time
children = []
try:
    while len(children) < int(sys.argv[1]):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        children.append(pid)
except OSError:
    pass
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print(json.dumps(len(children)))
"""


async def processes_are_limited(kit: RuntimeKit) -> None:
    """A skill that forks without end stops at the limit."""
    [count] = await inside(kit, FORKS, "200", limits=Limits(pids=32))
    assert isinstance(count, int)
    assert 8 < count < 32
    assert await outside(FORKS, "200") == [200], "the control: without a limit all of them start"


CONTROL_CHECKS: Mapping[str, tuple[Control, Check]] = MappingProxyType(
    {
        "network:no-route": ("network", there_is_no_way_to_public_addresses),
        "network:host-does-not-answer": ("private-addresses", services_of_the_host_do_not_answer),
        "files:host-is-not-there": ("filesystem", files_of_the_host_are_not_there),
        "files:root-is-read-only": ("rootfs", the_root_file_system_is_read_only),
        "rights:no-capability": ("capabilities", no_capability_is_left),
        "rights:not-root": ("user", the_user_is_not_root),
        "env:exactly-the-decided": ("env", the_environment_is_exactly_the_decided_one),
        "limits:memory": ("limits.memory", memory_is_limited),
        "limits:swap": ("limits.swap", swap_does_not_add_to_memory),
        "limits:cpu": ("limits.cpu", processors_are_limited),
        "limits:pids": ("limits.pids", processes_are_limited),
    }
)
"""Every check of a control by its id. A control without a check is proved by nobody: claiming it is a gap."""
