"""What holds in every sandbox, asked by a hostile skill through whole runs, with the control off beside it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess

import pytest
from engines import answers, python
from lying_engine import lying_engine
from perstack.testing.model_server import Call, ModelServer, Turn
from perstack_containers.spec import EXECUTABLE_PLACE, TMPFS

pytestmark = pytest.mark.engine

STATUS = """
lines = [line for line in open("/proc/self/status").read().splitlines() if ":\\t" in line]
result = dict(line.split(":\\t", 1) for line in lines)
"""


def canary() -> str:
    return f"canary-{secrets.token_hex(16)}"


def test_C3_P1_P2_no_capability_is_left_and_none_can_be_gained(hostile, real) -> None:
    (status,) = hostile.ask(STATUS)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    control = real.bare(STATUS, "--user=0")
    assert int(control["CapBnd"], 16) != 0, "the control: the engine leaves capabilities"
    assert control["NoNewPrivs"].strip() == "0"


IDENTITY = """
import os, pwd, shutil
result = {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "name": pwd.getpwuid(os.getuid()).pw_name,
          "pid1": open("/proc/1/comm").read().strip(), "pid": os.getpid(), "sudo": shutil.which("sudo")}
"""


def test_C4_P3_T7_the_skill_is_the_user_perstack_in_a_process_namespace_of_its_own(hostile, real) -> None:
    (seen,) = hostile.ask(IDENTITY)
    assert seen["uid"] != 0
    assert seen["gid"] != 0
    assert 0 not in seen["groups"]
    assert seen["name"] == "perstack"
    assert seen["sudo"] is None
    assert seen["pid"] < 100, "few processes live in its namespace"
    assert real.bare(IDENTITY, "--user=0")["uid"] == 0, "the control: the engine would have made it root"


WRITABLE = """
import os
result = []
for directory, _, _ in os.walk("/"):
    if directory.startswith(("/proc", "/sys")):
        continue
    path = os.path.join(directory, "perstack-write-test")
    try:
        open(path, "w").close()
        os.unlink(path)
        result.append(directory)
    except OSError:
        pass
"""


def test_C6_F4_only_the_documented_places_can_be_written_to(hostile, real) -> None:
    (writable,) = hostile.ask(WRITABLE)
    roots = {"/workspace", "/dev/shm", "/dev/mqueue", *TMPFS}  # queues: no process may hold any, see AX8
    assert {
        place for place in writable if not any(place == root or place.startswith(f"{root}/") for root in roots)
    } == set()
    assert {"/workspace", "/tmp", "/home/perstack", EXECUTABLE_PLACE} <= set(writable)
    assert "/etc" in real.bare(WRITABLE, "--user=0"), "the control: a plain container's root is writable"


MOUNTS = """
result = {}
for line in open("/proc/self/mountinfo"):
    left, _, right = line.partition(" - ")
    result[left.split()[4]] = left.split()[5].split(",") + right.split()[2].split(",")
"""
RUN_FROM = """
import os, subprocess
result = {}
for place in %r:
    path = os.path.join(place, "dropped")
    with open(path, "w") as file:
        file.write("#!/bin/sh\\necho ran\\n")
    os.chmod(path, 0o755)
    try:
        result[place] = subprocess.run([path], capture_output=True, text=True).stdout.strip()
    except OSError as error:
        result[place] = error.strerror
"""


def test_AX13_AX14_temporary_files_are_sized_and_cannot_be_run_but_in_one_place(hostile) -> None:
    places = ["/tmp", "/dev/shm", "/home/perstack", EXECUTABLE_PLACE]
    mounts, ran = hostile.ask(MOUNTS, RUN_FROM % places)
    for target in (*TMPFS, "/dev/shm"):
        assert {"nosuid", "nodev"} <= set(mounts[target]), target
        assert any(option.startswith("size=") for option in mounts[target]), target
    assert ran.pop(EXECUTABLE_PLACE) == "ran", "the control: the program itself can be run"
    assert set(ran.values()) == {"Permission denied"}


FILL = """
import os
result = 0
try:
    with open("/tmp/fill", "wb") as file:
        for _ in range(600):
            file.write(bytes(1024 * 1024)); file.flush(); result += 1
except OSError as error:
    pass
os.unlink("/tmp/fill")
"""


def test_AX6_a_full_temporary_directory_stops_at_its_size_and_the_engine_keeps_no_log(hostile, real) -> None:
    (written,) = hostile.ask(FILL)
    assert 200 <= written <= 256
    with hostile.running() as process:
        assert real.inspect(hostile.container(process))["HostConfig"]["LogConfig"]["Type"] == "none"


SEARCH = """
import os
result = []
for directory, directories, files in os.walk("/"):
    if directory in ("/proc", "/sys"):
        directories[:] = []
    result += [os.path.join(directory, name) for name in files + directories if %r in name]
"""


def test_C2_F1_T11_files_of_the_host_are_not_there(hostile, tmp_path) -> None:
    name = canary()
    place = tmp_path / name
    place.write_text("a file of the host")
    (found,) = hostile.ask(SEARCH % name)
    assert found == []
    assert hostile.local(SEARCH % name) == [str(place)], "the control: the local runtime shows it"


READ = """
import glob
result = {}
for path in %r:
    for one in glob.glob(path) or [path]:
        try:
            result[one] = open(one, errors="replace").read()
        except OSError as error:
            result[one] = error.strerror
"""


def test_F3_keys_and_credentials_of_the_host_cannot_be_read(hostile, tmp_path) -> None:
    home, secret = tmp_path / "home", canary()
    names = (".ssh/id_rsa", ".aws/credentials", ".netrc", ".config/gh/hosts.yml", ".docker/config.json")
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(secret)
    hostile.env["HOME"] = str(home)
    (hostile.workspace / "link").symlink_to(home / ".ssh" / "id_rsa")
    paths = [*(str(home / name) for name in names), f"/proc/*/root{home}/.netrc", "/proc/*/fd/*", "/workspace/link"]
    paths = [path for path in paths if "/fd/" not in path]
    (seen,) = hostile.ask(READ % paths)
    assert secret not in str(seen)
    assert secret in str(hostile.local(READ % paths)), "the control: the local runtime reads them"


def test_F2_files_cross_the_workspace_in_both_directions_with_the_hosts_owner(hostile) -> None:
    (hostile.workspace / "given.txt").write_text("from the host")
    (seen,) = hostile.ask(
        "result = open('/workspace/given.txt').read()\nopen('/workspace/made.txt', 'w').write('inside')"
    )
    made = hostile.workspace / "made.txt"
    assert seen == "from the host"
    assert made.read_text() == "inside"
    assert made.stat().st_uid == os.getuid()


SOCKETS = """
import os, stat
result = []
for directory, directories, files in os.walk("/"):
    if directory in ("/proc", "/sys"):
        directories[:] = []
    for name in files:
        path = os.path.join(directory, name)
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                result.append(path)
        except OSError:
            pass
"""


def test_P4_no_engines_socket_is_inside(hostile, real) -> None:
    (found,) = hostile.ask(SOCKETS)
    assert found == []
    control = real.bare(SOCKETS, "--user=0", f"--volume={real.address}:/engine.sock")
    assert control == ["/engine.sock"], "the control: a mounted socket is found"


NETWORK = """
import os, socket
result = {"interfaces": sorted(os.listdir("/sys/class/net")), "reached": []}
for address in %r:
    try:
        socket.create_connection(tuple(address), timeout=2).close()
        result["reached"].append(address)
    except OSError:
        pass
"""


def test_C8_C1_there_is_no_network_device_and_no_service_of_the_host_answers(hostile, real) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        service.settimeout(10)
        address = [list(service.getsockname())]
        (seen,) = hostile.ask(NETWORK % address)
        assert seen["reached"] == []
        assert [name for name in seen["interfaces"] if name != "lo"] == []
        control = hostile.local(NETWORK % address)
        assert control["reached"] == address, "the control: without a sandbox it answers"


SYSCALLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
numbers = {"io_uring_setup": 425, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
           "unshare": 272, "mount": 165, "umount2": 166, "pivot_root": 155, "bpf": 321, "keyctl": 250, "add_key": 248,
           "userfaultfd": 323, "perf_event_open": 298, "setns": 308, "init_module": 175, "kexec_load": 246,
           "open_by_handle_at": 304, "pidfd_getfd": 438, "mknodat": 259, "swapon": 167, "reboot": 169}
result = {}
for name, number in numbers.items():
    ctypes.set_errno(0)
    libc.syscall(number, 0, 0, 0, 0, 0, 0)
    result[name] = ctypes.get_errno()
"""
EPERM, ENOSYS = 1, 38


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
def test_AX11_AS3_system_calls_that_reach_the_kernels_depths_or_other_processes_are_refused(hostile, real) -> None:
    (errors,) = hostile.ask(SYSCALLS)
    assert {name: error for name, error in errors.items() if error not in {EPERM, ENOSYS}} == {}
    control = real.bare(SYSCALLS, "--user=10001", "--security-opt=seccomp=unconfined")
    passed = {name for name, error in control.items() if error not in {EPERM, ENOSYS}}
    assert {"io_uring_setup", "ptrace", "process_vm_readv", "kcmp", "unshare"} <= passed, "the control"


LIMITS = """
import resource
names = {"nofile": resource.RLIMIT_NOFILE, "core": resource.RLIMIT_CORE, "fsize": resource.RLIMIT_FSIZE,
         "msgqueue": 12}
result = {name: resource.getrlimit(number) for name, number in names.items()}
files = []
try:
    while True:
        files.append(open("/dev/null"))
except OSError as error:
    result["opened"] = len(files)
"""


def test_AX8_files_cores_and_queues_of_a_process_are_limited(hostile) -> None:
    (seen,) = hostile.ask(LIMITS)
    assert seen["nofile"] == [4096, 4096]
    assert seen["core"] == [0, 0]
    assert seen["msgqueue"] == [0, 0]
    assert 0 < seen["fsize"][1] <= 4 * 1024**3
    assert 4000 < seen["opened"] < 4096, "the control: many files can be opened before the limit"


NAMES = """
import os, socket
result = {"here": socket.gethostname(), "local": socket.gethostbyname("localhost"), "environment": dict(os.environ),
          "hosts": open("/etc/hosts").read(), "servers": open("/etc/resolv.conf").read()}
"""


def test_AH7_names_of_the_host_its_user_and_its_name_servers_do_not_leak(hostile) -> None:
    (seen,) = hostile.ask(NAMES)
    assert seen["here"] == "sandbox"
    assert seen["local"] == "127.0.0.1"
    assert {"USER", "LOGNAME", "PWD"} & set(seen["environment"]) == set()
    assert socket.gethostname() not in seen["hosts"]
    assert seen["servers"] == ""
    control = hostile.local(NAMES)
    assert [control["here"], bool(control["servers"])] == [socket.gethostname(), True], "the control"


def test_V1_V5_C5_T9_the_skill_sees_the_decided_variables_and_no_others(hostile) -> None:
    wanted, others = canary(), {f"HOST_SECRET_{number}": canary() for number in range(30)}
    hostile.env |= {"WANTED": wanted, **others}
    hostile.write(hostile.skill(extra='requiredEnv = ["WANTED"]'))
    result = hostile.run(python("import os\nresult = dict(os.environ)"))
    assert result.exit_code == 0, result.stderr
    text = str(result.tool_results["python"])
    assert "WANTED" in text
    assert "[redacted:WANTED]" in text, "the value arrived, and is shown to nobody"
    assert not [name for name in others if name in text]
    names = set(json.loads(text))
    assert names == {"WANTED", "PATH", "HOME", "SHELL"} | (names & {"TERM", "LC_CTYPE"})


def test_T13_Q5_Q6_the_sandbox_is_the_default_and_a_missing_engine_is_never_replaced(hostile, real, tmp_path) -> None:
    """Docker is what a run without `--runtime` wants; Podman has to be asked for, and then is not replaced either."""
    marker = hostile.workspace / "ran"
    args = tuple(word for word in hostile.args() if word not in {"--runtime", "docker"})
    if real.name != "docker":
        args = hostile.args()
    with ModelServer([Turn(calls=[python("open('/workspace/ran', 'w').close()")]), Turn(text="done")]) as server:
        gone = {**hostile.all_env, **dict.fromkeys(("DOCKER_HOST", "CONTAINER_HOST"), f"unix://{tmp_path}/none.sock")}
        refused = hostile.project.perstack(*args, server=server, env=gone)
        assert refused.exit_code == 2
        assert "does not work here" in refused.stderr
        assert not marker.exists()
        allowed = hostile.project.perstack(*args, server=server, env=hostile.all_env, timeout=300)
    assert allowed.exit_code == 0, allowed.stderr
    assert marker.exists(), "the control: with the engine the same command runs"
    assert allowed.one("initializeRuntime")["runtime"] == real.name


ANY_CODE = """
import os, shutil, signal, subprocess
result = {"ran": subprocess.run(["sh", "-c", "echo any code | tr a-z A-Z"], capture_output=True, text=True).stdout}
try:
    os.kill(%d, signal.SIGTERM)
    result["killed"] = True
except OSError:
    result["killed"] = False
"""
DESTROY = """
import os, shutil, signal
for name in os.listdir("/"):
    if name != "workspace":
        shutil.rmtree("/" + name, ignore_errors=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_T8_a_skill_runs_any_code_and_breaks_nothing_but_its_own_sandbox(hostile) -> None:
    hostile.write(hostile.skill(), hostile.skill("second", pick=["identity"]))
    other = subprocess.Popen(["sleep", "600"])
    try:
        code = ANY_CODE % other.pid
        turns = [Turn(calls=[python(code)]), Turn(calls=[python(DESTROY)]), Turn(calls=[Call("identity", {})])]
        with ModelServer([*turns, Turn(text="done")]) as server:
            result = hostile.project.perstack(*hostile.args(), server=server, env=hostile.all_env, timeout=300)
        assert result.exit_code == 0, result.stderr
        ran, destroyed, neighbour = answers(result)
        assert ran == {"ran": "ANY CODE\n", "killed": False}
        assert "The skill is gone" in str(destroyed), "it has ended itself"
        assert neighbour["pid"] > 1
        assert other.poll() is None
        assert hostile.local(code)["killed"], "the control: without a sandbox the same code reaches the host's process"
        assert other.wait(10) == -15
    finally:
        other.kill()
        other.wait()


LIES = {
    "rootfs": {"ReadonlyRootfs": False},
    "network": {"NetworkMode": "host"},
    "capabilities": {"CapDrop": [], "CapAdd": ["NET_RAW"]},
    "limits.memory": {"Memory": 0, "MemorySwap": 0, "MemoryReservation": 0},
    "limits.pids": {"PidsLimit": 0},
    "": {},
}


def test_AH3_an_engine_that_does_not_do_what_it_is_told_is_found_out_before_a_skill_starts(
    hostile, real, tmp_path
) -> None:
    for control, changes in LIES.items():
        marker = hostile.workspace / "ran"
        with lying_engine(real.address, tmp_path, changes) as path:
            hostile.env |= dict.fromkeys(("DOCKER_HOST", "CONTAINER_HOST"), f"unix://{path}")
            result = hostile.run(python("open('/workspace/ran', 'w').close()\nresult = 1"))
        if control:
            assert result.exit_code == 5, (control, result.stderr)
            assert control in result.stderr
            assert not marker.exists()
        else:
            assert result.exit_code == 0, result.stderr
            assert marker.exists(), "the control: an engine that leaves nothing out runs the skill"
