"""npm's packages: what its resolution means for the lock, where their archives are, and which file is started."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from perstack.errors import SkillError
from perstack.locking.fetching import METADATA_BYTES, Answer
from perstack.locking.lockfile import NpmName, NpmPackage
from perstack.messages import object_of

if TYPE_CHECKING:
    from perstack.locking.fetching import Fetcher
    from perstack.locking.registries import Registries
    from perstack.messages import JsonObject, JsonValue

METADATA = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8"
CPUS = {"x86_64": "x64", "aarch64": "arm64"}
_SHA512 = re.compile(r"sha512-[A-Za-z0-9+/]{86}==")
_MODULES = "node_modules/"


class NpmRegistry:
    """The metadata of packages, each asked for once."""

    def __init__(self, registries: Registries, fetcher: Fetcher) -> None:
        self._registries = registries
        self._fetcher = fetcher
        self._known: dict[str, Answer] = {}

    async def metadata(self, name: str) -> Answer:
        """What the registry says of a package: the answer of the first that has it, or the last refusal.

        Raises:
            SkillError: No registry serves such a package, or it could not be asked.
        """
        if name not in self._known:
            candidates = self._registries.of(name)
            if not candidates:
                raise SkillError(f"No npm registry is configured for {name!r}.", hint="See: npm config list")
            for registry in candidates:
                self._known[name] = await self._fetcher.get(
                    registry.url + quote(name, safe="@"), accept=METADATA, limit=METADATA_BYTES
                )
                if self._known[name].status == 200:
                    break
        return self._known[name]

    async def published(self, package: NpmPackage) -> tuple[str, str]:
        """Where the archive of that version is, and the hash that the registry now has for it.

        Raises:
            SkillError: The registry does not have it.
        """
        answer = await self.metadata(package.name)
        version = object_of(object_of(object_of(_decoded(answer)).get("versions")).get(package.version))
        dist = object_of(version.get("dist"))
        url = dist.get("tarball")
        if not isinstance(url, str):
            raise SkillError(f"The registry has no {package.name} {package.version} (status {answer.status}).")
        return url, _integrity(dist.get("integrity"))


def packages_of(resolution: JsonValue) -> tuple[NpmPackage, ...]:
    """The packages in a ``package-lock.json``, which is untrusted.

    Raises:
        SkillError: One comes from elsewhere than a registry, or has no hash that can be trusted.
    """
    found = []
    for path, entry in _entries(resolution):
        name = entry.get("name") or path.rpartition(_MODULES)[2]
        if entry.get("link"):
            raise SkillError(f"npm puts a link at {path!r}, which cannot be locked.")
        values = {
            "path": path,
            "name": name,
            "version": entry.get("version"),
            "integrity": _integrity(entry.get("integrity")),
            **{key: entry[key] for key in ("os", "cpu") if entry.get(key)},
        }
        if not values["integrity"]:
            hint = "It comes from elsewhere than a registry, or from one that is too old."
            raise SkillError(f"Package {name!r} has no sha512 hash, so it cannot be locked.", hint=hint)
        try:
            found.append(msgspec.convert(values, NpmPackage))
        except msgspec.ValidationError as error:
            raise SkillError(f"npm resolved {path!r} to what no lock can hold: {error}.") from None
    return tuple(sorted(found, key=lambda package: package.path))


def with_scripts(resolution: JsonValue) -> tuple[str, ...]:
    """Packages that would like to run a script when they are installed. None of them is run."""
    return tuple(path.rpartition(_MODULES)[2] for path, entry in _entries(resolution) if entry.get("hasInstallScript"))


def program(resolution: JsonValue, specs: Sequence[str], command: str) -> str:
    """The file that ``npx`` would start.

    Args:
        resolution: A ``package-lock.json``.
        specs: The packages on the command line.
        command: The command asked for; empty for the only one of the first package, or the one of its own name.

    Raises:
        SkillError: There is no such command.
    """
    entries = dict(_entries(resolution))
    for spec in specs if command else specs[:1]:
        name = name_of(spec)
        bins = entries.get(_MODULES + name, {}).get("bin")
        own = name.rpartition("/")[2]
        files = {own: bins} if isinstance(bins, str) else object_of(bins)
        wanted = command or (next(iter(files)) if len(set(map(str, files.values()))) == 1 else own)
        path = files.get(wanted)
        if isinstance(path, str):
            inside = posixpath.normpath(path)
            if not inside.startswith(("..", "/")):
                return posixpath.join(_MODULES, name, inside)
    raise SkillError(f"Package {specs[0]!r} has no command {command or name_of(specs[0])!r} to start.")


def name_of(spec: str) -> str:
    """The package's name in a spec such as ``@scope/name@1.2``."""
    at = spec.find("@", 1)
    return spec if at < 0 else spec[:at]


def is_name(name: str) -> bool:
    """Whether it may be asked for at all."""
    try:
        msgspec.convert(name, NpmName)
    except msgspec.ValidationError:
        return False
    return True


def needed(package: NpmPackage, machine: str) -> bool:
    """Whether a package is for Linux on this kind of machine."""
    return _fits(package.os, "linux") and _fits(package.cpu, CPUS.get(machine, machine))


def _fits(words: Sequence[str], ours: str) -> bool:
    wanted = [word for word in words if not word.startswith("!")]
    return f"!{ours}" not in words and (not wanted or ours in wanted)


def _entries(resolution: JsonValue) -> Iterator[tuple[str, JsonObject]]:
    for path, entry in object_of(object_of(resolution).get("packages")).items():
        table = object_of(entry)
        if path and not table.get("inBundle"):  # what is in a bundle comes in its package's archive
            yield path, table


def _integrity(value: JsonValue) -> str:
    found = _SHA512.search(value) if isinstance(value, str) else None
    return found[0] if found else ""


def _decoded(answer: Answer) -> JsonValue:
    try:
        value: JsonValue = json.loads(answer.body) if answer.status == 200 else None
    except (ValueError, RecursionError):
        value = None
    return value
