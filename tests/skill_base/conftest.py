"""Servers and workspaces, ended with the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import uuid
from pathlib import Path

import mutations
import pytest
from base_tools import COMMAND, RUNTIMES, Server, process


@pytest.fixture
def workspace(request, tmp_path):
    """An empty directory; with `shared` in the way of the test, the one of the run that tests share."""
    if "shared" in request.fixturenames and (shared := request.getfixturevalue("shared")):
        return shared.emptied()
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path):
    """A directory beside the workspace, with a canary that no tool may read, change or remove."""
    return Outside(tmp_path / "outside")


class Outside:
    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.canary = f"canary-{uuid.uuid4()}"
        self.file = path / "secret.txt"
        self.file.write_text(self.canary)
        self._before = self._snapshot()

    def _snapshot(self):
        return sorted((str(entry), entry.lstat().st_mtime_ns, entry.lstat().st_size) for entry in self.path.rglob("*"))

    def settle(self):
        """What is there now is what has to stay."""
        self._before = self._snapshot()

    def untouched(self):
        return self._snapshot() == self._before and self.file.read_text() == self.canary


@pytest.fixture
def launch():
    """Starts servers that are ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(cwd, **options):
            server = Server(cwd, **options)
            stack.callback(server.close)
            return server

        start.command = COMMAND
        yield start


@pytest.fixture
def server(launch, workspace):
    return launch(workspace)


WALK = (
    "import perstack_skill_base.beneath as b; b.open_by_kernel = lambda root, parts: None; "
    "from perstack_skill_base.server import main; main()"
)


@pytest.fixture(params=["kernel", "walk"])
def either_way(request, launch, workspace):
    """The server with `openat2`, and as it runs where the kernel has no such call."""
    return launch(workspace) if request.param == "kernel" else launch(workspace, command=[sys.executable, "-c", WALK])


class Shared:
    """One run of a way and its workspace, for the tests of a module."""

    def __init__(self, way, place):
        self._way = way
        self._place = place
        self._tools = None
        self.workspace = place / "workspace"
        self.workspace.mkdir()

    def emptied(self):
        """The workspace, empty but for the mount itself."""
        for path in self.workspace.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        return self.workspace

    def tools(self):
        """The base tools of the one run, started again if a test has ended it."""
        if self._tools is None or self._tools.process.poll() is not None:
            self._tools = self._way.start(self.workspace, self._place / "state", {}, {})
        return self._tools

    def close(self):
        if self._tools is not None:
            self._tools.close()


@pytest.fixture(scope="module", params=[pytest.param(name, marks=way.marks) for name, way in RUNTIMES.items()])
def way(request):
    """A way on which the rows are tested."""
    return RUNTIMES[request.param]


@pytest.fixture(scope="module")
def shared(way, tmp_path_factory):
    """What the tests of a module share on a way where a start takes seconds, or None."""
    if not way.shared:
        yield None
        return
    one = Shared(way, tmp_path_factory.mktemp("shared"))
    yield one
    one.close()


@pytest.fixture
def open_tools(request, way, shared, workspace, tmp_path):
    """Starts the base tools on every runtime; those of the rows run on each of them."""
    if reason := way.left_out.get(request.node.originalname):
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:

        def start(*, env=None, policy=None):
            if shared and not env and not policy:
                return shared.tools()
            code = os.environ.get(mutations.VARIABLE)
            if code:  # a run of test_mutations, in which the test must fail
                command = [sys.executable, "-c", mutations.program(code)]
                tools = process(workspace, tmp_path / "state", env or {}, policy or {}, command=command)
            else:
                tools = way.start(workspace, tmp_path / "state", env or {}, policy or {})
            stack.callback(tools.close)
            return tools

        yield start


@pytest.fixture
def tools(open_tools):
    return open_tools()


@pytest.fixture
def canary():
    return f"canary-{uuid.uuid4()}"


def _processes_with(word):
    """The processes whose command line contains a word, zombies left out."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if word.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
    return found


@pytest.fixture
def processes_with():
    """Finds processes by a word of their command line; what a failed test leaves of them is ended."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("looks for processes in /proc")
    words = set()

    def find(word):
        words.add(word)
        return _processes_with(word)

    yield find
    for word in words:
        for pid in _processes_with(word):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(os.getpgid(pid), signal.SIGKILL)  # started by a command, so never in our own group
