"""What stays behind to clean up: it outlives perstack, and removes what a run left when perstack was killed.

Run as ``python3 -I -S reaper.py LIBRARY RUN`` in a session of its own, with a pipe from perstack as standard input. The
first line is {"socket": …, "owner": …, "labels": …, "directories": […], "service": […]}: where the engine answers,
who we are to it, what to remove, and a service to keep running meanwhile. A second line, ``done``, says that nothing is
left to do; the end of the pipe without it says that perstack is gone. Containers whose supervisor ended earlier are
removed as well.

It is there before the run's first container, so it starts with little: what it needs later is imported then.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

CLEAN_SECONDS = 9.0
"""Everything is gone 10 s after a kill."""
QUIET_SECONDS = 2.0
"""A container that was being made when perstack was killed shows up by then."""
POLL_SECONDS = 0.1
HEAD_START_SECONDS = 1.0
"""In which the run's own containers start; looking for what others left would only slow them down."""
SERVICE_GRACE_SECONDS = 2.0


def main() -> int:
    """What the run left is gone."""
    sys.path.append(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # a terminal's signals are for perstack
    line = sys.stdin.readline()
    if not line:
        return 0
    plan = json.loads(line)
    service = start_service(plan["service"], plan["environment"], os.path.dirname(plan["socket"]))
    try:
        select.select([sys.stdin], [], [], HEAD_START_SECONDS)  # or until perstack has something to say
        remove_left_over(plan["socket"], plan["owner"])
        if sys.stdin.readline() != "done\n":
            clean(plan)
    finally:
        if service is not None:
            end_service(service)
    return 0


def start_service(command: list[str], environment: dict[str, str], directory: str) -> subprocess.Popen[bytes] | None:
    """The engine's own service for this run, if it needs one; helpers of Podman leave notes where it was started."""
    if not command:
        return None
    import subprocess

    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command, env=environment, cwd=directory, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )


def end_service(service: subprocess.Popen[bytes]) -> None:
    """The service has ended."""
    import subprocess

    service.terminate()
    try:
        service.wait(SERVICE_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()


def remove_left_over(address: str, owner: str) -> None:
    """Containers of this user's runs that were killed, reaper included, are gone."""
    from perstack_containers import http, labels

    deadline = time.monotonic() + CLEAN_SECONDS
    while address.startswith("/") and not os.path.exists(address) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)  # the service is on its way up
    with suppress(http.EngineFailure):
        for name, found in http.containers(address, {labels.RUN: "", labels.OWNER: owner}):
            if labels.is_left_over(found, owner):
                with suppress(http.EngineFailure):
                    http.remove(address, name)
        for name, found in http.volumes(address, {labels.RUN: "", labels.OWNER: owner}):
            if labels.is_left_over(found, owner):
                with suppress(http.EngineFailure):
                    http.remove_volume(address, name)


def clean(plan: dict[str, object]) -> None:
    """The run's containers and directories are gone."""
    import shutil

    from perstack_containers import http

    address, labels, directories = plan["socket"], plan["labels"], plan["directories"]
    if not (isinstance(address, str) and isinstance(labels, dict) and isinstance(directories, list)):
        raise TypeError("the reaper was given no plan")
    started = quiet = time.monotonic()
    while time.monotonic() - started < CLEAN_SECONDS and time.monotonic() - quiet < QUIET_SECONDS:
        with suppress(http.EngineFailure):
            for name, _ in http.containers(address, labels):
                quiet = time.monotonic()
                with suppress(http.EngineFailure):
                    http.remove(address, name)
            for name, _ in http.volumes(address, labels):
                quiet = time.monotonic()
                with suppress(http.EngineFailure):  # a container that is on its way out still has it
                    http.remove_volume(address, name)
        time.sleep(POLL_SECONDS)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
