"""Python's packages: what an index has of them, and which wheels fit into a sandbox. Nothing is ever built."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urljoin

from perstack.errors import SkillError
from perstack.locking.fetching import METADATA_BYTES
from perstack.messages import JsonValue, object_of

if TYPE_CHECKING:
    from packaging.tags import Tag

    from perstack.locking.fetching import Fetcher
    from perstack.locking.registries import Registries

MACHINES = ("x86_64", "aarch64")
"""A lock has the wheels for both, so that it holds for a whole team."""
ANSWER = "application/vnd.pypi.simple.v1+json"
INDEX = f"{ANSWER}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
OLDEST_GLIBC = 5
LEGACY = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
MUSL = range(3)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PIN = re.compile(rf"({_NAME.pattern})(?:\[[^\]]*\])?==([0-9A-Za-z.+!_-]+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexFile:
    """A wheel that an index has. `metadata` says whether its metadata can be had beside it."""

    name: str
    url: str
    sha256: str
    requires_python: str = ""
    yanked: bool = False
    metadata: bool = False


class PythonIndex:
    """The files of packages, each package asked for once."""

    def __init__(self, registries: Registries, fetcher: Fetcher) -> None:
        self._registries = registries
        self._fetcher = fetcher
        self._known: dict[str, tuple[IndexFile, ...]] = {}

    async def files(self, package: str) -> tuple[IndexFile, ...]:
        """The wheels that the first index with this package has of it; none where no index has it.

        Raises:
            SkillError: No index is configured, or it could not be asked.
        """
        name = normal(package)
        if name not in self._known:
            if not self._registries.known:
                raise SkillError("No index for Python packages is configured.", hint="See: pip config list")
            self._known[name] = ()
            for registry in self._registries.known:
                url = f"{registry.url}{name}/"
                answer = await self._fetcher.get(url, accept=INDEX, limit=METADATA_BYTES)
                if answer.status == 200:
                    self._known[name] = tuple(_files(answer.body, answer.type, url))
                    break
        return self._known[name]


def normal(name: str) -> str:
    """The form of a package's name that indexes use."""
    return re.sub(r"[-_.]+", "-", name).lower()


def bare_name(spec: str) -> str:
    """The name in a requirement, without extras and versions."""
    found = _NAME.match(spec)
    return found[0] if found else spec


def is_name(name: str) -> bool:
    """Whether it may be asked for at all."""
    return _NAME.fullmatch(name) is not None


def listing(package: str, files: Iterable[IndexFile]) -> bytes:
    """An index page in JSON that leads to the sandbox's own registry."""
    rows = [
        {
            "filename": file.name,
            "url": f"/file/{normal(package)}/{file.name}",
            "hashes": {"sha256": file.sha256} if file.sha256 else {},
            "requires-python": file.requires_python or None,
            "yanked": file.yanked,
            "core-metadata": file.metadata,
        }
        for file in files
    ]
    return json.dumps({"meta": {"api-version": "1.1"}, "name": normal(package), "files": rows}).encode()


def pins(requirements: JsonValue) -> dict[str, str]:
    """Versions by name, out of the lines that uv wrote, which are untrusted.

    Raises:
        SkillError: A line is no pin.
    """
    found = {}
    for line in requirements if isinstance(requirements, list) else []:
        match = _PIN.fullmatch(str(line).strip())
        if match is None:
            hint = "Packages come from an index; those from a URL or a path cannot be locked."
            raise SkillError(f"uv resolved to {line!r}, which is no version of a package.", hint=hint)
        found[normal(match[1])] = match[2]
    return found


def chosen(
    files: Iterable[IndexFile], version: str, *, python: str, libc: str, machines: Iterable[str]
) -> dict[str, IndexFile]:
    """The best wheel of `version` for each kind of machine, by the kind; kinds without one are left out."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename
    from packaging.version import InvalidVersion, Version

    candidates: list[tuple[IndexFile, frozenset[Tag]]] = []
    for file in files:
        try:
            _, found, _, tags = parse_wheel_filename(file.name)
            if found == Version(version):
                candidates.append((file, tags))
        except (InvalidWheelFilename, InvalidVersion):
            continue
    best: dict[str, IndexFile] = {}
    for machine in machines:
        ranks = {tag: rank for rank, tag in enumerate(sandbox_tags(python, libc, machine))}
        fitting = [
            (min(ranks[tag] for tag in tags & ranks.keys()), file) for file, tags in candidates if tags & ranks.keys()
        ]
        if fitting:
            best[machine] = min(fitting, key=lambda pair: (pair[0], pair[1].name))[1]
    return best


def sandbox_tags(python: str, libc: str, machine: str) -> Iterator[Tag]:
    """The tags that a Python on Linux takes, best first.

    Args:
        python: Its version, as in ``3.11``.
        libc: The version of its glibc, as in ``2.36``; empty for musl.
        machine: The kind of machine, such as ``x86_64``.
    """
    from packaging.tags import compatible_tags, cpython_tags

    major, minor = (int(part) for part in python.split("."))
    platforms = []
    if libc:
        for version in range(int(libc.split(".")[1]), OLDEST_GLIBC - 1, -1):
            platforms.append(f"manylinux_2_{version}_{machine}")
            platforms += [f"{LEGACY[version]}_{machine}"] if version in LEGACY else []
    else:
        platforms += [f"musllinux_1_{version}_{machine}" for version in reversed(MUSL)]
    platforms.append(f"linux_{machine}")
    yield from cpython_tags((major, minor), platforms=platforms)
    yield from compatible_tags((major, minor), interpreter=f"cp{major}{minor}", platforms=platforms)


def _files(body: bytes, kind: str, url: str) -> Iterator[IndexFile]:
    rows = _json_rows(body) if "json" in kind else _html_rows(body)
    for said, link, attributes in rows:
        try:
            place, fragment = urldefrag(urljoin(url, link))
        except ValueError:  # no address
            continue
        name = said or place.rpartition("/")[2]
        digest = attributes.get("sha256") or fragment.partition("sha256=")[2]
        if name.endswith(".whl") and "/" not in name:
            yield IndexFile(
                name=name,
                url=place,
                sha256=digest if _SHA256.fullmatch(digest) else "",
                requires_python=attributes.get("requires-python", ""),
                yanked="yanked" in attributes,
                metadata="metadata" in attributes,
            )


def _json_rows(body: bytes) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    try:
        page: JsonValue = json.loads(body)
    except (ValueError, RecursionError):
        page = None
    rows = object_of(page).get("files")
    for row in map(object_of, rows if isinstance(rows, list) else []):
        attributes = {"sha256": str(object_of(row.get("hashes")).get("sha256", ""))}
        attributes |= {"requires-python": str(row["requires-python"])} if row.get("requires-python") else {}
        attributes |= {"yanked": "yes"} if row.get("yanked") else {}
        metadata = row.get("core-metadata", row.get("dist-info-metadata"))
        attributes |= {"metadata": "yes"} if metadata else {}
        yield str(row.get("filename", "")), str(row.get("url", "")), attributes


def _html_rows(body: bytes) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    parser = _Links()
    parser.feed(body.decode("utf-8", "replace"))
    for attributes in parser.links:
        found = {name.removeprefix("data-"): value or "" for name, value in attributes.items()}
        if "core-metadata" in found or "dist-info-metadata" in found:
            found["metadata"] = "yes"
        yield "", found.get("href", ""), found


class _Links(HTMLParser):
    """Collects the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A link is a file."""
        if tag == "a":
            self.links.append(dict(attrs))
