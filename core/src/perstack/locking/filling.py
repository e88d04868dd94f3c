"""A locked package set becomes files on this machine: fetched from the user's own registry, compared with the lock."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from perstack.errors import LockMismatch, SkillError
from perstack.locking.npm import needed
from perstack.locking.unpacking import unpack_npm, unpack_wheel

if TYPE_CHECKING:
    from perstack.locking.fetching import Answer
    from perstack.locking.lockfile import NpmPackage, PackageSet, PypiPackage
    from perstack.locking.npm import NpmRegistry
    from perstack.locking.pypi import PythonIndex
    from perstack.messages import JsonObject

_TAG = re.compile(r"cpython-3[0-9]{1,2}")
Get = Callable[[str], Awaitable["Answer"]]


async def fill_npm(
    packages: PackageSet, root: Path, *, machine: str, registry: NpmRegistry, get: Get, progress: Callable[[str], None]
) -> None:
    """Every package that this machine needs lies below `root`, as npm would have put it there.

    Raises:
        LockMismatch: The registry has other content under a locked version.
        SkillError: It does not have a package, or an archive is none.
    """

    async def add(package: NpmPackage) -> None:
        url, published = await registry.published(package)
        if published and published != package.integrity:
            raise republished(package.name, package.version, package.integrity, published)
        body = await _body(get, url, package.name)
        found = "sha512-" + base64.b64encode(hashlib.sha512(body).digest()).decode()
        if found != package.integrity:
            raise republished(package.name, package.version, package.integrity, found)
        await to_thread.run_sync(unpack_npm, package.name, body, root / package.path)
        progress(f"{package.name} {package.version}")

    wanted = [package for package in packages.npm if needed(package, machine)]
    await _all([partial(add, package) for package in wanted])


async def fill_pypi(
    packages: PackageSet, root: Path, *, machine: str, index: PythonIndex, get: Get, progress: Callable[[str], None]
) -> None:
    """The wheel of every package that fits this machine is unpacked below `root`.

    Raises:
        LockMismatch: The index has other content under a locked file's name.
        SkillError: It does not have a file, or none is for this machine.
    """

    async def add(package: PypiPackage) -> None:
        name, digest = wheel_for(package, machine)
        found = next((file for file in await index.files(package.name) if file.name == name), None)
        if found is None:
            raise SkillError(f"The index has no {name}.", hint="It was removed, or your index is another one.")
        if found.sha256 and f"sha256:{found.sha256}" != digest:
            raise republished(package.name, package.version, digest, f"sha256:{found.sha256}")
        body = await _body(get, found.url, package.name)
        actual = "sha256:" + hashlib.sha256(body).hexdigest()
        if actual != digest:
            raise republished(package.name, package.version, digest, actual)
        await to_thread.run_sync(unpack_wheel, package.name, body, root)
        progress(f"{package.name} {package.version}")

    await _all([partial(add, package) for package in packages.pypi])


def wheel_for(package: PypiPackage, machine: str) -> tuple[str, str]:
    """Name and hash of the package's wheel for this kind of machine.

    Raises:
        SkillError: The lock has none.
    """
    fitting = {name: digest for name, digest in package.wheels.items() if _platform_fits(name, machine)}
    if not fitting:
        hint = "Lock it again on such a machine: perstack install --update"
        raise SkillError(f"The lock has no wheel of {package.name} for {machine}.", hint=hint)
    return min(fitting.items(), key=lambda item: (item[0].endswith("-any.whl"), item[0]))


def _platform_fits(name: str, machine: str) -> bool:
    platforms = name.removesuffix(".whl").rpartition("-")[2]
    return platforms == "any" or any(one.endswith(f"_{machine}") for one in platforms.split("."))


def compiled_into(root: Path) -> Callable[[JsonObject], None]:
    """Keeps each compiled file that a sandbox tells of where Python looks for it. What it tells is untrusted."""
    inside = root.resolve()

    def keep(message: JsonObject) -> None:
        path, tag, body = (message.get(name) for name in ("compiled", "tag", "body"))
        if not (isinstance(path, str) and isinstance(tag, str) and isinstance(body, str) and _TAG.fullmatch(tag)):
            return
        with suppress(ValueError, FileExistsError):  # no path, no base64, or a package with a file of the folder's name
            source = (inside / path).resolve()
            if inside in source.parents and source.suffix == ".py" and source.is_file():
                folder = source.parent / "__pycache__"
                folder.mkdir(mode=0o755, exist_ok=True)
                target = folder / f"{source.stem}.{tag}.pyc"
                target.write_bytes(base64.b64decode(body))
                target.chmod(0o644)

    return keep


def republished(name: str, version: str, locked: str, found: str) -> LockMismatch:
    """The refusal of a version that is not what it was."""
    return LockMismatch(
        f"{name} {version}",
        (f"package {name} {version} was published again with other content:", f"  - {locked}", f"  + {found}"),
    )


async def _body(get: Get, url: str, name: str) -> bytes:
    answer = await get(url)
    if answer.status != 200:
        raise SkillError(f"The registry answers {answer.status} for the archive of {name}.")
    return answer.body


async def _all(jobs: list[Callable[[], Awaitable[None]]]) -> None:
    """Every job was done, many at once; the first failure ends the others and is raised as it is."""
    failures: list[Exception] = []

    async def run(job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - raised below, outside of the group
            failures.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for job in jobs:
            group.start_soon(run, job)
    if failures:
        raise failures[0]
