"""Each control of the runtime comparison, attacked in a sandbox as `perstack prove` does, and beside it without one.

A check is for runtimes that claim its control. What it shows is behaviour, never what a runtime or an engine says. An
attack that would harm a host is made inside alone.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType

import anyio
from perstack_proxy.limits import MIB

from perstack.messages import JsonObject
from perstack.proving.attacks import Attack, Case
from perstack.proving.outside import outside
from perstack.proving.prove import ATTACKS
from perstack.proving.sweeper import sweeper
from perstack.skill_policy import Control, Limits
from perstack.testing.runtime_kit import Check, RuntimeKit, output

LIMITS = Limits(memory=128 * MIB, memory_reserved=32 * MIB, cpus=0.5, pids=32)
"""Less than any host has, so that an attack shows at once whether they hold."""
VALUES = {"CANARY": 'value with = "quotes"\nand lines', "EMPTY": ""}
SHOW = "\nimport json\nprint(json.dumps(result))"


async def there_is_no_way_out(kit: RuntimeKit) -> None:
    """A skill that may reach no domain has no network device and no route, and no service of the host hears it."""
    await _holds(kit, "network")


async def there_is_no_way_to_private_addresses(kit: RuntimeKit) -> None:
    """There is no way to private addresses, nor to those at which clouds tell a machine its secrets."""
    await _holds(kit, "private-addresses")


async def files_of_the_host_are_not_there(kit: RuntimeKit) -> None:
    """No road leads to a file beside the workspace, to a socket of the host or to the variables of its processes."""
    await _holds(kit, "filesystem")


async def the_root_file_system_is_read_only(kit: RuntimeKit) -> None:
    """The file system of programs and settings is read-only, and nothing can be made anywhere on it."""
    await _holds(kit, "rootfs")


async def no_capability_is_left(kit: RuntimeKit) -> None:
    """All five sets of capabilities are empty, no program can add to them, and no privileged deed can be done."""
    await _holds(kit, "capabilities")


async def the_user_is_not_root(kit: RuntimeKit) -> None:
    """A skill is neither root nor in root's group, and cannot become root."""
    await _holds(kit, "user")


async def the_environment_is_exactly_the_decided_one(kit: RuntimeKit) -> None:
    """A process sees the given variables with their values, and no other variable of the host."""
    await _holds(kit, "env")


async def memory_is_limited(kit: RuntimeKit) -> None:
    """A skill that takes more memory than its limit is ended."""
    await _holds(kit, "limits.memory")


async def swap_does_not_add_to_memory(kit: RuntimeKit) -> None:
    """The kernel grants no swap on top of the limit of memory."""
    await _holds(kit, "limits.swap")


async def processors_are_limited(kit: RuntimeKit) -> None:
    """Processes that spin get no more of the processors together than the limit."""
    await _holds(kit, "limits.cpu")


async def processes_are_limited(kit: RuntimeKit) -> None:
    """A skill that starts threads without end stops at the limit; the kernel counts them as processes."""
    await _holds(kit, "limits.pids")


async def _holds(kit: RuntimeKit, control: Control) -> None:
    """Every attack that can tell of the control gets nowhere inside; outside, where it is harmless, it gets through."""
    async with _case(kit) as inside:
        free = replace(inside, number=2)
        for attack in ATTACKS:
            if control not in attack.controls or not attack.applies(inside.policy):
                continue
            for finding in attack.findings(inside, await _inside(kit, attack, inside)):
                assert finding.control != control or finding.verdict == "proved", finding.evidence
            if attack.free():
                found = attack.findings(free, await _outside(attack, free))
                assert any(finding.verdict == "failed" for finding in found), (
                    f"{attack.name} gets nowhere outside either"
                )


@asynccontextmanager
async def _case(kit: RuntimeKit) -> AsyncIterator[Case]:
    """A skill that is granted `VALUES` and `LIMITS`, and a host with something to steal beside the workspace."""
    values = {**kit.env, **VALUES}
    with sweeper() as kept:
        async with outside([kit.workspace.parent], kept) as host:
            yield Case(
                number=1,
                policy=kit.program("", env=values, limits=LIMITS).policy,
                values=values,
                environ=dict(os.environ),
                workspace=kit.workspace,
                host=host,
                brief=False,
            )


async def _inside(kit: RuntimeKit, attack: Attack, case: Case) -> JsonObject:
    """What the attack reports from a sandbox."""
    program = kit.program(attack.source(case) + SHOW, env=case.values, limits=LIMITS)
    async with kit.started(program) as (_, process):
        return _report(await output(process))


async def _outside(attack: Attack, case: Case) -> JsonObject:
    """What the same attack reports without a sandbox: the control of the experiment."""
    done = await anyio.run_process([sys.executable, "-c", attack.source(case) + SHOW], cwd=case.workspace)
    return _report(done.stdout)


def _report(data: bytes) -> JsonObject:
    report: JsonObject = json.loads(data)
    return report


CONTROL_CHECKS: Mapping[str, tuple[Control, Check]] = MappingProxyType(
    {
        "network:no-way-out": ("network", there_is_no_way_out),
        "network:no-private-address": ("private-addresses", there_is_no_way_to_private_addresses),
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
