"""What really holds in a container, read back from inside it and from its engine; both must agree.

Nothing here is a constant: a control that cannot be read back is not enforced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perstack.messages import object_of

from perstack_containers.spec import BASELINE_ENV, TMPFS

if TYPE_CHECKING:
    from perstack.messages import JsonObject
    from perstack.skill_policy import Control

    from perstack_containers.spec import ContainerSpec

NO_ENFORCEMENT_IN = 2**62
"""Version 1 of control groups shows a limit that is not set as a number near 2**63."""
KERNEL_FILE_SYSTEMS = frozenset(
    {"proc", "sysfs", "tmpfs", "devtmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay"}
)
ENGINE_FILES = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv", "/run/secrets"})
ENGINE_VARIABLES = frozenset({"HOSTNAME", "TERM", "container", "LC_CTYPE", *BASELINE_ENV})
"""What engines and images set for the first process; it passes none of it on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What was seen.

    Attributes:
        facts: What the first process read from the kernel.
        state: What the engine says of the container.
    """

    facts: JsonObject
    state: JsonObject


def enforced(spec: ContainerSpec, evidence: Evidence) -> frozenset[Control]:
    """The controls that hold for the container of `spec`."""
    return frozenset(control for control, holds in _verdicts(spec, evidence) if holds)


def _verdicts(spec: ContainerSpec, evidence: Evidence) -> Iterator[tuple[Control, bool]]:
    facts, host = evidence.facts, object_of(evidence.state.get("HostConfig"))
    alone = facts.get("interfaces") in ([], ["lo"]) and host.get("NetworkMode") == "none" == spec.network
    yield "network", alone
    yield "private-addresses", alone
    yield "filesystem", _only_our_mounts(spec, facts)
    yield "capabilities", _no_capability(facts) and host.get("Privileged") is not True
    yield "user", facts.get("uid") == [spec.uid] and 0 not in _list(facts.get("groups")) and spec.uid != 0
    names = set(map(str, _list(facts.get("environment"))))
    yield "env", "PATH" in names and names <= ENGINE_VARIABLES
    yield "rootfs", host.get("ReadonlyRootfs") is True and "ro" in _options(facts, "/")
    limits = object_of(facts.get("limits"))
    yield "limits.memory", _at_most(limits.get("memory"), spec.limits.memory)
    yield "limits.swap", _no_swap(facts.get("cgroups"), limits)
    yield "limits.pids", _at_most(limits.get("pids"), spec.limits.pids)
    yield "limits.cpu", _cpus(limits) <= spec.limits.cpus + 0.001
    yield "limits.disk", False  # neither the workspace nor an engine's layer has a quota


def _no_capability(facts: JsonObject) -> bool:
    sets = object_of(facts.get("capabilities"))
    return len(sets) == 5 and not any(sets.values()) and facts.get("no_new_privileges") is True


def _only_our_mounts(spec: ContainerSpec, facts: JsonObject) -> bool:
    """No mount but the kernel's own, the engine's small files, our tmpfs and what the policy names, as it names it."""
    ours = {*(bind.target for bind in spec.binds), *(volume.target for volume in spec.volumes)}
    rows = [row for row in _list(facts.get("mounts")) if isinstance(row, list)]
    for target, kind, _ in rows:
        if kind not in KERNEL_FILE_SYSTEMS and target not in ours | ENGINE_FILES | {"/"}:
            return False
    fixed = [bind.target for bind in spec.binds if bind.read_only]
    fixed += [volume.target for volume in spec.volumes if volume.read_only]
    kept = all("ro" in _options(facts, target) for target in fixed)
    return kept and all({"nosuid", "nodev"} <= _options(facts, target) for target in TMPFS) and bool(rows)


def _options(facts: JsonObject, target: str) -> set[str]:
    """The options of the mount that is seen at `target`: the last one that was made there."""
    found: set[str] = set()
    for row in _list(facts.get("mounts")):
        if isinstance(row, list) and row[0] == target:
            found = set(str(row[2]).split(","))
    return found


def _number(value: object) -> int | None:
    text = str(value or "")
    return int(text) if text.isdecimal() and int(text) < NO_ENFORCEMENT_IN else None


def _at_most(value: object, most: int) -> bool:
    number = _number(value)
    return number is not None and number <= most


def _no_swap(version: object, limits: Mapping[str, object]) -> bool:
    """Version 2 limits swap alone, version 1 memory and swap together."""
    swap, memory = _number(limits.get("swap")), _number(limits.get("memory"))
    return swap == 0 if version == 2 else swap is not None and swap == memory


def _cpus(limits: Mapping[str, object]) -> float:
    """Processor cores; infinite where there is no limit."""
    words = str(limits.get("cpu_quota") or "").split()
    quota = _number(words[0]) if words else None
    period = _number(words[1]) if len(words) == 2 else _number(limits.get("cpu_period"))
    return quota / period if quota and period else float("inf")


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
