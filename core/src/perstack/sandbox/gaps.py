"""The lines of a policy that a sandbox does not enforce, said one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perstack_proxy.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Collection

    from perstack.skill_policy import Control, SkillPolicy


def unenforced(policy: SkillPolicy, enforced: Collection[Control]) -> tuple[str, ...]:
    """Each line of `policy` that `enforced` leaves open, and what that means; empty when all of them hold."""
    lines: list[str] = []
    if "network" not in enforced:
        wanted = ", ".join(grant.pattern for grant in policy.egress) or "no domain"
        lines.append(f"network: may reach any address (policy: {wanted})")
    if "filesystem" not in enforced:
        wanted = ", ".join(f"{mount.host} {mount.mode}" for mount in policy.mounts) or "no path"
        lines.append(f"filesystem: may read and write all that your user may (policy: {wanted})")
    if "user" not in enforced or "capabilities" not in enforced:
        lines.append("user, capabilities: runs as you, with your rights")
    limits = policy.limits
    wanted_limits = {
        "limits.memory": f"{limits.memory // MIB} MiB of memory",
        "limits.cpu": f"{limits.cpus:g} processor cores",
        "limits.pids": f"{limits.pids} processes",
    }
    open_limits = [text for control, text in wanted_limits.items() if control not in enforced]
    if open_limits:
        lines.append(f"limits: none (policy: {', '.join(open_limits)})")
    if policy.image is not None and "rootfs" not in enforced:
        lines.append(f"image: {policy.image} is not used; the command is this machine's own")
    return tuple(lines)
