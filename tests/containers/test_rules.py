"""The decisions, without an engine: a container's definition, what counts as enforced, what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from perstack.skill_policy import CONTROLS, Limits
from perstack_containers.context import DATA
from perstack_containers.enforced import Evidence, enforced
from perstack_containers.engine import Dialect
from perstack_containers.labels import OWNER, RUN, SUPERVISOR, is_left_over, owner_name, run_labels
from perstack_containers.pid1 import exit_code
from perstack_containers.spec import TMPFS, Bind, ContainerSpec, create_body, skill_env

GOLDEN = Path(__file__).with_name("container.json")
SPEC = ContainerSpec(
    image="sha256:abc",
    uid=1000,
    gid=1000,
    labels={"perstack.run": "r", "perstack.skill": "s"},
    binds=(
        Bind(source="/home/me/project", target="/workspace", read_only=False),
        Bind(source="/home/me/project/.git/hooks", target="/workspace/.git/hooks", read_only=True),
    ),
    limits=Limits(),
    seccomp=("PROFILE", "/profile.json"),
)


def test_AC1_the_definition_of_a_container_is_the_reviewed_one() -> None:
    assert create_body(SPEC, Dialect()) == json.loads(GOLDEN.read_text())


def test_P3_no_definition_runs_as_the_superuser() -> None:
    with pytest.raises(ValueError, match="superuser"):
        dataclasses.replace(SPEC, uid=0)


def test_engines_are_given_the_filter_for_system_calls_in_the_form_that_they_read() -> None:
    body = create_body(SPEC, Dialect(seccomp="path", userns="keep-id"))
    assert "seccomp=/profile.json" in body["HostConfig"]["SecurityOpt"]
    assert body["HostConfig"]["UsernsMode"] == "keep-id"


def facts() -> dict:
    mounts = [[target, "tmpfs", "rw,nosuid,nodev"] for target in TMPFS]
    return {
        "pid": 1,
        "uid": [1000],
        "gid": [1000],
        "groups": [1000],
        "capabilities": dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0),
        "no_new_privileges": True,
        "seccomp": 2,
        "interfaces": ["lo"],
        "mounts": [
            ["/", "overlay", "ro,relatime"],
            ["/workspace", "ext4", "rw"],
            ["/workspace/.git/hooks", "ext4", "ro"],
            *mounts,
        ],
        "cgroups": 2,
        "limits": {
            "memory": str(2048 * 1024 * 1024),
            "swap": "0",
            "pids": "256",
            "cpu_quota": "200000 100000",
            "cpu_period": "200000 100000",
        },
        "environment": ["HOME", "PATH"],
    }


STATE = {"HostConfig": {"NetworkMode": "none", "ReadonlyRootfs": True, "Privileged": False}}


def test_everything_but_disk_is_enforced_when_inside_and_engine_agree() -> None:
    assert enforced(SPEC, Evidence(facts=facts(), state=STATE)) == set(CONTROLS) - {"limits.disk"}


@pytest.mark.parametrize(
    ("control", "change"),
    [
        ("network", {"interfaces": ["eth0", "lo"]}),
        ("private-addresses", {"interfaces": ["eth0"]}),
        ("capabilities", {"no_new_privileges": False}),
        ("capabilities", {"capabilities": {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 1, "CapAmb": 0}}),
        ("capabilities", {"capabilities": {}}),
        ("user", {"uid": [0, 1000]}),
        ("user", {"groups": [0]}),
        ("env", {"environment": ["HOME", "AWS_SECRET_ACCESS_KEY"]}),
        ("rootfs", {"mounts": [["/", "overlay", "rw,relatime"]]}),
        ("filesystem", {"mounts": [["/", "overlay", "ro"], ["/host", "ext4", "rw"]]}),
        ("filesystem", {"mounts": []}),
        ("filesystem", {"mounts": [*facts()["mounts"], ["/workspace/.git/hooks", "ext4", "rw"]]}),
        ("limits.memory", {"limits": {"memory": "max"}}),
        ("limits.memory", {"limits": {"memory": "9223372036854771712"}}),
        ("limits.swap", {"limits": {"memory": "1024", "swap": "max"}}),
        ("limits.pids", {"limits": {"pids": "max"}}),
        ("limits.cpu", {"limits": {"cpu_quota": "-1", "cpu_period": "100000"}}),
        ("limits.cpu", {"limits": {"cpu_quota": "400000 100000"}}),
    ],
)
def test_AH3_a_control_that_is_not_read_back_is_not_enforced(control, change) -> None:
    assert control not in enforced(SPEC, Evidence(facts={**facts(), **change}, state=STATE))


@pytest.mark.parametrize("control", sorted(set(CONTROLS) - {"limits.disk"}))
def test_AH3_nothing_is_enforced_without_evidence(control) -> None:
    assert control not in enforced(SPEC, Evidence(facts={}, state={}))


def test_AX13_version_one_of_control_groups_limits_memory_and_swap_together() -> None:
    limits = {"memory": "1024", "swap": "1024"}
    one = {**facts(), "cgroups": 1, "limits": limits}
    assert "limits.swap" in enforced(SPEC, Evidence(facts=one, state=STATE))
    assert "limits.swap" not in enforced(SPEC, Evidence(facts={**one, "cgroups": 2}, state=STATE))
    more = {**one, "limits": {**limits, "swap": "2048"}}
    assert "limits.swap" not in enforced(SPEC, Evidence(facts=more, state=STATE))


def test_AX11_the_filter_allows_nothing_that_reaches_other_processes_namespaces_or_rings() -> None:
    profile = json.loads((DATA / "seccomp.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    plain = {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for name in rule["names"]
    }
    refused = {
        "io_uring_setup", "io_uring_enter", "io_uring_register", "ptrace", "process_vm_readv", "process_vm_writev",
        "kcmp", "pidfd_getfd", "unshare", "setns", "mount", "umount2", "pivot_root", "bpf", "perf_event_open",
        "userfaultfd", "keyctl", "add_key", "request_key", "clone", "clone3", "socket", "personality", "mknod",
    }  # fmt: skip
    assert plain & refused == set()
    assert {"read", "openat2", "execve", "seccomp"} <= plain, "the control: ordinary work is allowed"
    families = {rule["args"][0]["value"] for rule in profile["syscalls"] if rule["names"] == ["socket"]}
    assert families == {1, 2, 10, 16}


def test_AH2_only_containers_of_this_user_whose_supervisor_has_ended_are_left_over() -> None:
    me = owner_name(far=False)
    alive = run_labels("run", me)
    assert not is_left_over(alive, me), "this process is alive"
    boot, namespace, pid, started = alive[SUPERVISOR].split("/")
    assert is_left_over({**alive, SUPERVISOR: f"{boot}/{namespace}/{pid}/{int(started) - 1}"}, me)
    assert is_left_over({**alive, SUPERVISOR: f"another-boot/{namespace}/{pid}/{started}"}, me)
    assert not is_left_over({**alive, SUPERVISOR: f"{boot}/another/{pid}/1"}, me)
    assert not is_left_over({**alive, OWNER: "4242", SUPERVISOR: "another-boot/1/1/1"}, me)
    assert not is_left_over({**alive, SUPERVISOR: ""}, me)
    assert not is_left_over({name: value for name, value in alive.items() if name != RUN}, me)


def test_AH2_AH6_on_an_engine_of_many_machines_users_of_other_machines_are_others() -> None:
    """They have the same number and a start of their own, as what an earlier start of this machine left has."""
    me = owner_name(far=True)
    assert me.startswith(f"{os.getuid()}@")
    assert me != owner_name(far=False)
    past = {**run_labels("run", me), SUPERVISOR: "another-boot/1/1/1"}
    assert is_left_over(past, me), "the control: what is ours and ended is left over"
    assert not is_left_over({**past, OWNER: f"{os.getuid()}@{'0' * 16}"}, me)
    assert not is_left_over({**past, OWNER: owner_name(far=False)}, me)


def test_the_exit_code_of_a_signal_is_told_as_a_shell_tells_it() -> None:
    assert exit_code(7 << 8) == 7
    assert exit_code(9) == 137
    assert exit_code(None) == 137


def test_a_granted_variable_replaces_the_baseline_and_nothing_else_is_there() -> None:
    assert set(skill_env({"TOKEN": "x"})) == {"PATH", "HOME", "SHELL", "TOKEN"}
